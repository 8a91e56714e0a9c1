package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

// mountCommands are the verbs that give images other names. No bytes are moved.
func mountCommands(common *appliance.ImageOptions) []*cobra.Command {
	var o appliance.MountOptions
	run := func(cmd *cobra.Command) error {
		o.ImageOptions = *common
		o.Result = cmd.OutOrStdout()
		if err := o.Valid(); err != nil {
			return err
		}
		return appliance.MountImage(cmd.Context(), finder(), o)
	}
	copyCommand := &cobra.Command{
		Use:   "copy IMAGE REPOSITORY[:TAG]",
		Short: "Copy an image into another repository, without its bytes",
		Long: `Copy an image into another repository, without its bytes: both have the same blobs.

IMAGE is REPOSITORY:TAG or REPOSITORY@DIGEST. An index comes with its images. A tag that
points to another image is replaced, unless it is immutable; without a TAG the image is
there by its digest.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.From, err = namedImage(args[0]); err != nil {
				return err
			}
			if o.Repository, o.Tags, err = target(args[1]); err != nil {
				return err
			}
			return run(cmd)
		},
	}
	copyCommand.Flags().BoolVar(&o.Referrers, "referrers", false, "copy what refers to the image too: signatures, bills of materials")
	tag := &cobra.Command{
		Use:   "tag IMAGE TAG…",
		Short: "Give an image further tags",
		Long: `Give an image further tags, in its repository.

IMAGE is REPOSITORY:TAG or REPOSITORY@DIGEST. A tag that points to another image is
replaced, unless it is immutable.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.From, err = namedImage(args[0]); err != nil {
				return err
			}
			o.Repository, o.Tags = o.From.Repository, args[1:]
			return run(cmd)
		},
	}
	promote := &cobra.Command{
		Use:   "promote REPOSITORY:TAG REPOSITORY[:TAG]",
		Short: "Copy an image with its signatures under the same tag, and never replace one",
		Long: `Copy an image with all that refers to it (signatures, bills of materials) into another
repository, under the same tag if no other is named, without its bytes. A tag that points
to another image is never replaced.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.From, err = namedImage(args[0]); err != nil {
				return err
			}
			if o.Repository, o.Tags, err = target(args[1]); err != nil {
				return err
			}
			if o.Tags == nil && o.From.Tag == "" {
				return fmt.Errorf("cannot promote %s without a tag: write %s:TAG", args[0], args[1])
			}
			if o.Tags == nil {
				o.Tags = []string{o.From.Tag}
			}
			o.Referrers, o.New = true, true
			return run(cmd)
		},
	}
	verbs := []*cobra.Command{copyCommand, tag, promote}
	for _, verb := range verbs {
		verb.Flags().BoolVar(&common.JSON, "json", false, "print JSON")
	}
	return verbs
}

func namedImage(text string) (appliance.ImageName, error) {
	repository, tag, dgst, err := imageOf(text)
	return appliance.ImageName{Repository: repository, Tag: tag, Digest: dgst}, err
}

// target reads REPOSITORY[:TAG].
func target(text string) (repository string, tags []string, err error) {
	repository, tag, tagged := strings.Cut(text, ":")
	if tagged {
		tags = []string{tag}
	}
	if repository == "" || strings.Contains(text, "@") {
		return "", nil, errors.New("cannot use that target: write REPOSITORY or REPOSITORY:TAG, such as prod/app:v1")
	}
	return repository, tags, nil
}
