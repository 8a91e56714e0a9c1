package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func gcCommand() *cobra.Command {
	var o appliance.GCOptions
	var yes bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Move to the trash what no image needs, and purge what was there for long enough",
		Long: `Move to the trash what no image needs, and purge what was there for long enough.

The registry stays in use: pushes and pulls go on, and what a client asks for comes
back from the trash by itself. A run that was stopped is made whole by the next one.
Of several machines on a bucket one runs at a time. redoubt-gc.timer runs it as the
configuration's gc: says, which is where the defaults come from too.

On a disk that is full, --now frees at once what no image needs and no push of the last
hour has named, and empties the trash: nothing of that can be taken back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Output, o.Result, o.Root = terminal(), cmd.OutOrStdout(), "/"
			if o.Storage == imagestore.Configured {
				o.Record = paths.Collection
				asConfigured(cmd, &o, paths.GC)
			}
			if o.Now && !yes {
				if err := confirm(cmd, "This empties the trash: nothing of it can be taken back. Go on?"); err != nil {
					return err
				}
			}
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
	flags.BoolVar(&o.Now, "now", false, "free at once: empty the trash, and keep nothing in it")
	flags.BoolVar(&yes, "yes", false, "do not ask before --now")
	flags.BoolVar(&o.Scheduled, "scheduled", false, "for the timer: it is no failure that another machine is at it")
	flags.BoolVar(&o.JSON, "json", false, "print the result as JSON")
	return cmd
}

// asConfigured sets what the command line does not. Without a file the flags count alone.
func asConfigured(cmd *cobra.Command, o *appliance.GCOptions, path string) {
	var c render.Collection
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &c) != nil {
		return
	}
	given := cmd.Flags().Changed
	if !given("remove-untagged") {
		o.Untagged = c.RemoveUntagged
	}
	if !given("grace") {
		o.Grace = c.Grace
	}
	if !given("trash") {
		o.Trash = c.Trash
	}
}

// confirm asks on a terminal. Without one, nobody can have meant it.
func confirm(cmd *cobra.Command, question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("cannot ask: there is no terminal; --yes says that it is meant")
	}
	fmt.Fprint(cmd.ErrOrStderr(), question+" [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errors.New("nothing was done")
	}
	return nil
}
