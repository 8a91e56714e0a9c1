package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/printable"
	"github.com/redoubt-registry/redoubt/appliance/spool"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
)

func healthCommand() *cobra.Command {
	var asJSON, keep, adopt bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Try the storage as the registry uses it, and say what to fix",
		Long: `Try the storage as the registry uses it: each operation, how long it takes, and what
to fix where it fails. A bucket is read and written under redoubt/health/, a directory
under redoubt/health below its root; only a small object stays, to be read next time.

redoubt-health.timer does this every ten seconds (health.storage.interval) with --keep,
which prints nothing unless the grade changes. In a bucket it then reads, writes, lists and
deletes; it tries uploads in parts and copies, which cost more, every ten minutes, and at
every check once something has failed.

The grades: ok; degraded (pulls work, pushes get 503); down (everything gets 503).
The exit status is 0 for ok, else 1.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := isMachine(cmd, "/"); err != nil {
				return err
			}
			w := storagecheck.NewWatch(cmd.ErrOrStderr())
			if keep {
				return errors.Join(w.Keep(cmd.Context()), spool.Worse(paths.Deliveries, paths.DeliveriesTold, time.Now()))
			}
			report, err := w.Look(cmd.Context(), adopt)
			if err != nil {
				return err
			}
			if !asJSON {
				cmd.Print(printable.Text(report.String()))
				return report.Err()
			}
			if err := printJSON(cmd.OutOrStdout(), report); err != nil {
				return err
			}
			return report.Err()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&keep, "keep", false, "check once, grade by this check and those before, and store the grade for the registry")
	cmd.Flags().BoolVar(&adopt, "adopt", false, "accept the file system that is mounted now as the machine's, whatever was there before")
	cmd.MarkFlagsMutuallyExclusive("keep", "json")
	cmd.MarkFlagsMutuallyExclusive("keep", "adopt")
	return cmd
}
