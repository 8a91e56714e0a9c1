package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// places is what a person may name for --from.
const places = "a directory, or a configuration FILE.yaml with backup.to: in it"

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back the machine up, and look at its backups",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(backupNowCommand(), backupListCommand(), backupVerifyCommand())
	return cmd
}

func backupNowCommand() *cobra.Command {
	var o appliance.BackupOptions
	cmd := &cobra.Command{
		Use:   "now",
		Short: "Take a snapshot of the machine and its images, and remove old ones",
		Long: `Take a snapshot of the machine and its images, and remove old ones.

It goes to backup.to, encrypted to backup.recipients: configuration, authorities, the
ACME account, the client CA, secrets, the keys of tokens, what is below /etc/redoubt,
and with backup.images all images. Only blobs that are not there yet are copied. The
registry stays in use. redoubt-backup.timer runs it as backup.schedule says.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				o.Output, o.Result = terminal(), cmd.OutOrStdout()
				return m.BackUp(cmd.Context(), finder(), o)
			})
		},
	}
	cmd.Flags().BoolVar(&o.Scheduled, "scheduled", false, "for the timer: it is no failure that there is no place to back up to")
	cmd.Flags().IntVar(&o.Parallel, "parallel", 4, "how many blobs at a time")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print the result as JSON")
	return cmd
}

func backupListCommand() *cobra.Command {
	var o appliance.BackupOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the snapshots that there are, the oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return atBackups(cmd, &o, func(m *appliance.Machine) error {
				return m.ListBackups(cmd.Context(), finder(), o)
			})
		},
	}
	cmd.Flags().StringVar(&o.From, "from", "", "the `PLACE` of the backups: "+places+"; without it, that of this machine")
	cmd.Flags().BoolVar(&o.JSON, "json", false, "print it as JSON")
	return cmd
}

func backupVerifyCommand() *cobra.Command {
	var o appliance.BackupOptions
	cmd := &cobra.Command{
		Use:   "verify [SNAPSHOT]",
		Short: "Check that a snapshot is whole",
		Long: `Check that a snapshot is whole: the newest one, or the one that is named.

Without a key it checks that the archive has its SHA-256, and that each blob is there
with a size that fits. With --identity it decrypts all: it unpacks what the machine kept
into a scratch directory, reads each blob, and checks that all is there that each tag
needs. With --from it works on any computer, so that the key need not leave the one
where it is kept.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Snapshot = args[0]
			}
			return atBackups(cmd, &o, func(m *appliance.Machine) error {
				return m.VerifyBackup(cmd.Context(), finder(), o)
			})
		},
	}
	cmd.Flags().StringVar(&o.From, "from", "", "the `PLACE` of the backups: "+places+"; without it, that of this machine")
	cmd.Flags().StringVar(&o.Identity, "identity", "", "a `FILE` with the private key, as age-keygen -o FILE made it")
	cmd.Flags().IntVar(&o.Parallel, "parallel", 4, "how many blobs at a time")
	return cmd
}

// atBackups gives f this machine, or, where a place is named, nothing but a way to it.
func atBackups(cmd *cobra.Command, o *appliance.BackupOptions, f func(m *appliance.Machine) error) error {
	o.Output, o.Result = terminal(), printable.Writer(cmd.OutOrStdout())
	if o.From == "" {
		return onMachine(cmd, f)
	}
	return f(&appliance.Machine{Root: "/", Now: time.Now, Out: o.Result, Warnings: printable.Writer(cmd.ErrOrStderr())})
}
