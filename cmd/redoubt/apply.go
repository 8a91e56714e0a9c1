package main

import (
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func applyCommand() *cobra.Command {
	var boot, dryRun, acceptEmpty bool
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

The exit status is 0 when the machine serves what its configuration asks for, else 1;
then what is printed last says what serves instead.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				if boot {
					m.Ready = func() error { _, err := daemon.SdNotify(false, daemon.SdNotifyReady); return err }
				}
				return m.Apply(cmd.Context(), appliance.Options{DryRun: dryRun, AcceptEmptyStorage: acceptEmpty})
			})
		},
	}
	cmd.Flags().BoolVar(&boot, "boot", false, "tell systemd when the files are in place (for redoubt-apply.service)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&acceptEmpty, "accept-empty-storage", false, "take up another storage although images that clients had are not in it")
	return cmd
}
