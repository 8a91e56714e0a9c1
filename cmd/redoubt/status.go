package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

func statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the machine is: units, certificate, storage, cache, configuration, versions",
		Long: `Say how the machine is: units, certificate, storage, cache, configuration, versions.

The first line is the verdict: ok, degraded (it serves, but something needs attention),
maintenance (the configuration cannot be used) or down. What is wrong follows it.

The exit status is 0 for ok, else 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				report, err := m.Status(cmd.Context(), version)
				if err != nil {
					return err
				}
				if err := printStatus(cmd.OutOrStdout(), report, asJSON); err != nil {
					return err
				}
				return report.Err()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(out io.Writer, report *status.Report, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprint(out, report)
		return err
	}
	return printJSON(out, report)
}
