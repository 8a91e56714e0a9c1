package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/systemd"
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
			units, err := systemd.Connect(cmd.Context())
			if err != nil {
				return err
			}
			defer units.Close()
			report, err := machine(cmd, units).Status(cmd.Context(), version)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(report)
			} else {
				_, err = fmt.Fprint(cmd.OutOrStdout(), report)
			}
			if err != nil {
				return err
			}
			return report.Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
