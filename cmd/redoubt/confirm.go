package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func confirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm",
		Short: "Keep the configuration that redoubt apply --confirm has put on trial",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.Confirm(cmd.Context()) })
		},
	}
}
