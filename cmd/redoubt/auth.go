package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

func authCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Look into who may do what",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(authCheckCommand())
	return cmd
}

func authCheckCommand() *cobra.Command {
	var source userdata.Source
	var files []string
	cmd := &cobra.Command{
		Use:   "check USER ACTION REPOSITORY",
		Short: "Say whether a user may do something, and which rule decides",
		Long: `Say whether a user may do something, and which rule of auth.acl decides, with its file
and line.

ACTION is pull, push, delete or admin. USER is a login of auth.users or
auth.clientCertificates, robot:NAME of auth.robots, or - for somebody without a login. A user who can log in by
several ways gets a line for each, since certificates may have groups of their own.

The configuration is the machine's own, or else that of --file, and is not the one in
force until it was applied. The exit status is 0 when the user is allowed it by one of
the ways, else 1.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			layers, environment := config.Environment(os.Environ())
			read := found(source, files)
			read.Report = append(read.Report, environment...)
			cfg, origins, report := read.Parse(layers...)
			if err := report.Err(); err != nil {
				return orElsewhere(cmd, source, files, "--file FILE", err)
			}
			rulings, err := cfg.Auth.Check(origins, args[0], args[1], args[2])
			if err != nil {
				return err
			}
			return printRulings(cmd, rulings)
		},
	}
	cmd.Flags().StringArrayVar(&files, "file", nil, "read this configuration instead of the machine's (may be repeated; the later one wins)")
	cmd.Flags().StringVar(&source.Root, "root", "/", "directory that the machine's files are below")
	source.Credentials = os.Getenv("CREDENTIALS_DIRECTORY")
	return cmd
}

func printRulings(cmd *cobra.Command, rulings []config.Ruling) error {
	allowed := false
	for _, r := range rulings {
		word := "denied"
		if r.Allowed {
			word, allowed = "allowed", true
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", word, r.Way, r.Why)
	}
	if !allowed {
		return errors.New("the user may not do that")
	}
	return nil
}
