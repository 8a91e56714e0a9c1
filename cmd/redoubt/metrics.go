package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the registry's metrics, as Prometheus reads them",
		Long: `Print the registry's metrics, as Prometheus reads them.

They are on metrics.listen, an address of this machine alone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.Metrics(cmd.Context()) })
		},
	}
}
