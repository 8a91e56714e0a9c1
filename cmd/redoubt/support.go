package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func supportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Write what somebody needs who is to help, without secrets, into one file",
		Long: `Write what somebody needs who is to help, without secrets, into one file.

It has what status, doctor, show, history and metrics print, what an apply would do, the
units, and the journal of Redoubt and of warnings. It names users, repositories and
addresses, but not who pulled what: the access log and the audit log are not in it.

From another machine: ssh debian@HOST sudo redoubt support --out - >support.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				return m.Support(cmd.Context(), version, out, cmd.OutOrStdout())
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `FILE` to write, - for stdout (default: one in /tmp)")
	return cmd
}
