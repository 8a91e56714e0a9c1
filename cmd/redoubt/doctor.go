package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with the machine and around it, and say what cures it",
		Long: `Look for what is wrong with the machine and around it, and say what cures it.

Beside all that redoubt status tells it looks at what the names of the machine resolve to,
the clock, the disks and the memory. Each finding is ok, a notice (it may be meant so) or
a problem. The exit status is 0 if there is no problem, else 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				report, err := m.Doctor(cmd.Context(), version)
				if err != nil {
					return err
				}
				if !asJSON {
					fmt.Fprint(m.Out, report)
					return report.Err()
				}
				if err := printJSON(cmd.OutOrStdout(), report); err != nil {
					return err
				}
				return report.Err()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
