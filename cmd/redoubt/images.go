package main

import (
	"errors"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func imagesCommand() *cobra.Command {
	o := appliance.ImageOptions{Root: "/"}
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List the images of the registry, copy, tag and delete them",
		Args:  cobra.NoArgs,
	}
	list := &cobra.Command{
		Use:   "list [REPOSITORIES]…",
		Short: "Print the images: size, platforms, last push and pull, referrers",
		Long: `Print the images: size, platforms, last push and pull, referrers.

REPOSITORIES are patterns as those of auth.acl, such as 'team/**'; without any all
repositories are listed. OWN is what no other image of the registry has: so much space
goes with the image.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Repositories, o.Result = args, cmd.OutOrStdout()
			return appliance.ListImages(cmd.Context(), finder(), o)
		},
	}
	du := &cobra.Command{
		Use:   "du",
		Short: "Print the space of each repository",
		Long: `Print the space of each repository.

OWN is what no other repository has. The last line counts each blob of the registry once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Result = cmd.OutOrStdout()
			return appliance.DiskUsage(cmd.Context(), finder(), o)
		},
	}
	for _, verb := range []*cobra.Command{list, du} {
		verb.Flags().BoolVar(&o.JSON, "json", false, "print JSON")
	}
	remove := &cobra.Command{
		Use:   "delete REPOSITORY:TAG|REPOSITORY@DIGEST",
		Short: "Delete a tag, or an image with all of its tags",
		Long: `Delete a tag, or an image with all of its tags. It goes to the trash, from which redoubt
trash restore takes it back. Immutable tags are deleted too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Result = cmd.OutOrStdout()
			repository, tag, dgst, err := imageOf(args[0])
			if err != nil {
				return err
			}
			return appliance.DeleteImage(cmd.Context(), finder(), o, repository, tag, dgst)
		},
	}
	for _, verb := range append(mountCommands(&o), list, du, remove) {
		verb.Flags().StringVar(&o.Storage, "storage", imagestore.Configured, "the `STORAGE` that the images are in: "+imagestore.Names)
		cmd.AddCommand(verb)
	}
	return cmd
}

// imageOf reads REPOSITORY:TAG or REPOSITORY@DIGEST.
func imageOf(text string) (repository, tag string, dgst digest.Digest, err error) {
	repository, hex, byDigest := strings.Cut(text, "@")
	if byDigest {
		dgst = digest.Digest(hex)
		err = dgst.Validate()
	} else {
		repository, tag, _ = strings.Cut(text, ":")
	}
	if err != nil || repository == "" || tag == "" && dgst == "" || strings.Contains(repository, ":") {
		return "", "", "", errors.New("cannot use that name of an image: write REPOSITORY:TAG or REPOSITORY@DIGEST, such as team/app:v1")
	}
	return repository, tag, dgst, nil
}
