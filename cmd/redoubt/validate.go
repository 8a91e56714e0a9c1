package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE…",
		Short: "Report every mistake in configuration files, each with its line",
		Long: `Report every mistake in configuration files, each as file:line:col: path: message.

Each FILE is a configuration of its own: cloud-config with a redoubt: key, a MIME
message with such a part, either of them packed with gzip, or the configuration
alone. The exit status is 0 when all are valid, else 1.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			valid := true
			for _, file := range files {
				report := userdata.ValidateFile(file)
				fmt.Fprint(cmd.ErrOrStderr(), report)
				if report.Err() != nil {
					valid = false
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", file)
			}
			if !valid {
				return errors.New("the configuration is not valid")
			}
			return nil
		},
	}
}
