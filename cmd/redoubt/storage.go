package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Copy the storage to another one, or check it",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(storageCopyCommand(), storageScrubCommand())
	return cmd
}

func storageCopyCommand() *cobra.Command {
	var o appliance.CopyOptions
	cmd := &cobra.Command{
		Use:   "copy --from STORAGE --to STORAGE",
		Short: "Copy all images from one storage to another, each blob checked by its digest",
		Long: `Copy all images from one storage to another, each blob checked by its digest.

STORAGE is ` + imagestore.Names + `.
Keys of a bucket are in that file (storage.s3.accessKey, or better file:PATH).

The source is only read, and may be in use: a further run copies what is new. A copy
that was stopped resumes with the same command. Tags go last, so that the target
never has one without its image. Uploads in progress are not copied.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Output, o.Result = terminal(), cmd.OutOrStdout()
			return appliance.CopyStorage(cmd.Context(), finder(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.From, "from", "", "the `STORAGE` to read")
	flags.StringVar(&o.To, "to", "", "the `STORAGE` to write")
	flags.IntVar(&o.Parallel, "parallel", 8, "how many blobs at a time")
	flags.BoolVar(&o.Verify, "verify", false, "read the blobs that are there already too, and compare both storages at the end")
	flags.BoolVar(&o.Delete, "delete", false, "remove tags and links from the target that the source no longer has")
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // only for a flag that does not exist
		}
	}
	return cmd
}

func storageScrubCommand() *cobra.Command {
	var o appliance.ScrubOptions
	var rate, after string
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read the storage and report what is damaged or missing, by image",
		Long: `Read the storage and report what is damaged or missing, by image.

It reads every blob and compares its digest; then it checks that everything is there
that tags and manifests need. It changes nothing, and the registry may be in use.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Rate, err = progress.ParseRate(rate); err != nil {
				return fmt.Errorf("--rate: %w", err)
			}
			if o.After = digest.Digest(after); after != "" && o.After.Validate() != nil {
				return errors.New("--after: it takes a digest, which an earlier run has printed")
			}
			o.Output, o.Result = terminal(), cmd.OutOrStdout()
			return appliance.ScrubStorage(cmd.Context(), finder(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Storage, "storage", imagestore.Configured, "the `STORAGE` to read: "+imagestore.Names)
	flags.StringVar(&rate, "rate", "20MiB/s", "how fast to read, at most; 0 is no bound")
	flags.IntVar(&o.Parallel, "parallel", 4, "how many objects at a time")
	flags.StringVar(&after, "after", "", "leave out the blobs up to this `DIGEST`, which an earlier run has read")
	flags.BoolVar(&o.JSON, "json", false, "print a line of JSON for each fault, and one for the summary")
	return cmd
}

// finder finds storages on this machine.
func finder() imagestore.Finder {
	return imagestore.Finder{
		Registry:    paths.RegistryYML,
		Credentials: appliance.CredentialsDir(os.Getenv("CREDENTIALS_DIRECTORY")),
	}
}

// terminal is where progress and faults are written.
func terminal() *progress.Output {
	width := 0
	if size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ); err == nil {
		width = max(int(size.Col), 40)
	}
	return progress.NewOutput(os.Stderr, width)
}
