package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

func showCommand() *cobra.Command {
	var source userdata.Source
	var origin bool
	var settings []string
	cmd := &cobra.Command{
		Use:   "show [FILE…]",
		Short: "Print the merged configuration, defaults included and secrets redacted",
		Long: `Print the merged configuration, defaults included and secrets redacted.

It is the machine's own, or else that of the FILEs, the later one winning. REDOUBT_*
variables (REDOUBT_TLS_MODE for tls.mode) and --set win over both.`,
		RunE: func(cmd *cobra.Command, files []string) error {
			out, report, err := show(found(source, files), settings, origin)
			if err != nil {
				return orElsewhere(cmd, source, files, "FILEs", err)
			}
			cmd.PrintErr(report)
			_, err = cmd.OutOrStdout().Write(out)
			return err
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "name where each value was written")
	cmd.Flags().StringVar(&source.Root, "root", "/", "directory that the machine's files are below")
	cmd.Flags().StringArrayVar(&settings, "set", nil, "set a key, such as tls.minVersion=1.3 (may be repeated)")
	source.Credentials = os.Getenv("CREDENTIALS_DIRECTORY")
	return cmd
}

// show prints what was found below the command line's own settings. The report
// has warnings only.
func show(found userdata.Found, settings []string, origin bool) ([]byte, config.Report, error) {
	layers, environment := config.Environment(os.Environ())
	set, flags := config.Settings("--set", settings)
	found.Report = append(append(found.Report, environment...), flags...)
	cfg, origins, report := found.Parse(append(layers, set...)...)
	if err := report.Err(); err != nil {
		return nil, nil, err
	}
	if !origin {
		origins = nil
	}
	out, err := cfg.Show(origins)
	return out, report.Warnings(), err
}
