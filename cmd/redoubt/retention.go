package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

func retentionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Say what the rules of retention keep",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(retentionPlanCommand())
	return cmd
}

func retentionPlanCommand() *cobra.Command {
	var source userdata.Source
	var files []string
	var o appliance.PlanOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print which tags stay and which go, by which rule, and how many bytes",
		Long: `Print which tags stay and which go, by which rule of retention, with its file and line,
and how many bytes go with each.

Nothing is deleted. But redoubt gc, and its timer, do what rules say only when their plan
was printed once, or retention.enforce is true. The rules are those of the machine's
documents, or else those of --file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found := source.Read
			if len(files) > 0 {
				found = func() userdata.Found { return userdata.ReadFiles(files) }
			}
			layers, environment := config.Environment(os.Environ())
			read := found()
			read.Report = append(read.Report, environment...)
			cfg, origins, report := read.Parse(layers...)
			if err := report.Err(); err != nil {
				return err
			}
			o.Config, o.Origins, o.Result = cfg, origins, cmd.OutOrStdout()
			return appliance.PlanRetention(cmd.Context(), finder(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&files, "file", nil, "read this configuration instead of the machine's (may be repeated; the later one wins)")
	flags.StringVar(&source.Root, "root", "/", "directory that the machine's files are below")
	flags.StringVar(&o.Storage, "storage", imagestore.Configured, "the `STORAGE` to look at: "+imagestore.Names)
	flags.BoolVar(&o.Gone, "gone", false, "print only what goes")
	flags.BoolVar(&o.JSON, "json", false, "print a line of JSON for each tag")
	source.Credentials = os.Getenv("CREDENTIALS_DIRECTORY")
	return cmd
}
