package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func renderCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "render --out DIR FILE…",
		Short: "Write what apply would write for configuration files, into a directory",
		Long: `Write what apply would write for configuration files, into a directory.

DIR gets the tree of a new machine, such as DIR/run/redoubt/registry.yml; the FILEs
are one configuration, the later one winning. Nothing of this machine is used or
changed, but for secrets that a FILE keeps in file:PATH or cred:NAME.

DIR then holds real secrets: the password hashes, and the secret that signs uploads,
which is new each time and not that of any machine. Its files are yours, with
the permissions that they would have on the machine.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			return appliance.Render(out, files, os.Getenv("CREDENTIALS_DIRECTORY"), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the `DIR` to write to")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // only for a flag that does not exist
	}
	return cmd
}
