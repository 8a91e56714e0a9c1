package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func restoreCommand() *cobra.Command {
	var o appliance.RestoreOptions
	cmd := &cobra.Command{
		Use:   "restore --from PLACE --identity FILE",
		Short: "Make this machine the one that a backup was taken of",
		Long: `Make this machine the one that a backup was taken of.

It gets the configuration of that machine, its authorities and secrets, so that no
client notices, and its images, unless its storage has some. What this machine was given
itself, as user-data or below /etc/redoubt, counts more than the configuration of the
backup. Then it applies. A restore that was ended is made whole by the same command.

It refuses to replace what the machine has served with, and to be a second one beside a
machine that still answers under its name; --force does it. A revocation list that is
here and newer stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				o.Output, o.Result = terminal(), cmd.OutOrStdout()
				return m.Restore(cmd.Context(), finder(), o)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", "the `PLACE` of the backups: "+places)
	flags.StringVar(&o.Identity, "identity", "", "a `FILE` with the private key, as age-keygen -o FILE made it")
	flags.StringVar(&o.Snapshot, "snapshot", "", "the `SNAPSHOT`; without it, the newest")
	flags.IntVar(&o.Parallel, "parallel", 4, "how many blobs at a time")
	flags.BoolVar(&o.Force, "force", false, "replace what this machine serves, or although that machine still answers")
	for _, name := range []string{"from", "identity"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // only for a flag that does not exist
		}
	}
	return cmd
}
