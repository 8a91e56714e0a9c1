package main

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func trashCommand() *cobra.Command {
	var o appliance.TrashOptions
	cmd := &cobra.Command{
		Use:   "trash",
		Short: "Look into the trash of redoubt gc, restore from it, or empty it",
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
	restore := &cobra.Command{
		Use:   "restore [REPOSITORY@DIGEST]",
		Short: "Bring back a manifest, or all that is in the trash",
		Long: `Bring back a manifest, or all that is in the trash.

The blobs of a manifest come back when they are asked for. What nothing needs is taken
again by a later run of redoubt gc: give the image a tag.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Result = cmd.OutOrStdout()
			var repository string
			var dgst digest.Digest
			if len(args) > 0 {
				name, hex, _ := strings.Cut(args[0], "@")
				if repository, dgst = name, digest.Digest(hex); name == "" || dgst.Validate() != nil {
					return errors.New("cannot restore that: write it as REPOSITORY@DIGEST, as redoubt trash list prints it")
				}
			}
			return appliance.RestoreTrash(cmd.Context(), finder(), o, repository, dgst)
		},
	}
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
