package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func renewCommand() *cobra.Command {
	o := appliance.RenewOptions{Version: version}
	cmd := &cobra.Command{
		Use:   "renew",
		Short: "Obtain or renew the server's certificate if that is due",
		Long: `Obtain or renew the server's certificate if that is due.

redoubt-renew.timer runs this every ten minutes. With nothing to do it does nothing and
contacts nobody. A new certificate is published and taken up without a restart; whatever
goes wrong, the old one stays in force. After a failure it waits: a minute, 10 minutes,
100 minutes, then a day, or as long as the CA says.

The exit status is 0 unless something went wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.Renew(cmd.Context(), o) })
		},
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "renew what is not due, and do not wait after a failure, unless the CA said so")
	return cmd
}
