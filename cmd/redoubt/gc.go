package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func gcCommand() *cobra.Command {
	var o appliance.GCOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Move to the trash what no image needs, and purge what was there for long enough",
		Long: `Move to the trash what no image needs, and purge what was there for long enough.

The registry stays in use: pushes and pulls go on, and what a client asks for comes
back from the trash by itself. A run that was stopped is made whole by the next one.
Of several machines on a bucket one runs at a time.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Output, o.Result = terminal(), cmd.OutOrStdout()
			return appliance.CollectStorage(cmd.Context(), finder(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Storage, "storage", imagestore.Configured, "the `STORAGE` to clean: "+imagestore.Names)
	flags.BoolVar(&o.Untagged, "remove-untagged", false, "take manifests too that no tag, index or subject holds")
	flags.DurationVar(&o.Grace, "grace", 24*time.Hour, "what is younger, or was named by a push since, stays")
	flags.DurationVar(&o.Trash, "trash", 7*24*time.Hour, "how long what was taken can be had back")
	flags.IntVar(&o.Parallel, "parallel", 8, "how many objects are read at a time")
	flags.BoolVar(&o.DryRun, "dry-run", false, "change nothing, and say what would be")
	flags.BoolVar(&o.JSON, "json", false, "print the result as JSON")
	return cmd
}
