package main

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func applyCommand() *cobra.Command {
	var o appliance.Options
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make the machine what its configuration says",
		Long: `Make the machine what its configuration says.

The plan is printed and carried out: files are written to /run/redoubt, units start,
reload or restart, and the registry must then answer. If it does not, what served
before comes back. A second apply without a change in between does nothing, but that
it starts again what of the machine was stopped. Warnings go to stderr.

A change of storage that would hide images is refused: copy them first (redoubt storage
copy), or say --accept-empty-storage.

With --confirm the machine goes back by itself to what serves now, unless redoubt confirm
is run in time: a change that locks you out does not last. A restart of the machine before
that goes back too.

The exit status is 0 when the machine serves what its configuration asks for, else 1;
then what is printed last says what serves instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				if o.Confirm != 0 && o.Confirm < shortestTrial {
					return fmt.Errorf("--confirm is a time such as 5m, and at least %s: nobody could confirm sooner", shortestTrial)
				}
				if o.Boot {
					m.Ready = func() error { _, err := daemon.SdNotify(false, daemon.SdNotifyReady); return err }
				}
				return m.Apply(cmd.Context(), o)
			})
		},
	}
	cmd.Flags().BoolVar(&o.Boot, "boot", false, "stay with what a rollback chose, and tell systemd when the files are in place (for redoubt-apply.service)")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&o.AcceptEmptyStorage, "accept-empty-storage", false, "take up another storage although images that clients had are not in it")
	cmd.Flags().DurationVar(&o.Confirm, "confirm", 0, "go back after this `TIME`, such as 5m, unless redoubt confirm is run before")
	return cmd
}

// shortestTrial leaves time to look.
const shortestTrial = 10 * time.Second
