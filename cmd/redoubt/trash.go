package main

import (
	"errors"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// wanted reads REPOSITORY[:TAG][@DIGEST].
func wanted(text string) (w trash.Wanted, err error) {
	rest, hex, pinned := strings.Cut(text, "@")
	w.Repository, w.Tag, _ = strings.Cut(rest, ":")
	w.Digest = digest.Digest(hex)
	if w.Repository == "" || strings.HasSuffix(rest, ":") || pinned && w.Digest.Validate() != nil {
		return w, errors.New("cannot restore that: write it as REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST, as redoubt trash list prints it")
	}
	return w, nil
}

func trashCommand() *cobra.Command {
	var o appliance.TrashOptions
	cmd := &cobra.Command{
		Use:   "trash",
		Short: "Look into the trash, restore from it, or empty it",
		Args:  cobra.NoArgs,
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "Print what is in the trash",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Result = cmd.OutOrStdout()
			return appliance.ListTrash(cmd.Context(), finder(), o)
		},
	}
	list.Flags().BoolVar(&o.JSON, "json", false, "print a line of JSON for each")
	var since time.Duration
	restore := &cobra.Command{
		Use:   "restore [REPOSITORY[:TAG|@DIGEST]]",
		Short: "Bring back what was deleted: a tag, an image, a repository, or all",
		Long: `Bring back what was deleted: a tag, an image, a repository, or all.

An image comes back with all that it is made of and what refers to it. A tag that
is named gets what it had before, also where it was overwritten; other tags that
point to another image by now are left. What nothing needs is taken again by a
later run of redoubt gc --remove-untagged: give the image a tag.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Result = cmd.OutOrStdout()
			var w trash.Wanted
			if len(args) > 0 {
				var err error
				if w, err = wanted(args[0]); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("since") {
				if since <= 0 {
					return errors.New("cannot restore: --since is a time that has passed, such as 1h")
				}
				w.Since = time.Now().Add(-since)
			}
			return appliance.RestoreTrash(cmd.Context(), finder(), o, w)
		},
	}
	restore.Flags().DurationVar(&since, "since", 0, "only what was deleted within that time, such as 1h")
	empty := &cobra.Command{
		Use:   "empty",
		Short: "Delete for good what is in the trash, but what an image needs again",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Result = cmd.OutOrStdout()
			return appliance.EmptyTrash(cmd.Context(), finder(), o)
		},
	}
	for _, verb := range []*cobra.Command{list, restore, empty} {
		verb.Flags().StringVar(&o.Storage, "storage", imagestore.Configured, "the `STORAGE` that the trash is of: "+imagestore.Names)
		cmd.AddCommand(verb)
	}
	return cmd
}
