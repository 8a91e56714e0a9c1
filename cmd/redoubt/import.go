package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/foreign"
)

func importCommand() *cobra.Command {
	var o foreign.Options
	cmd := &cobra.Command{
		Use:   "import FILE…",
		Short: "Print user-data for what you have of another registry",
		Long: `Print user-data for what you have of another registry.

Each FILE is one of: config.yml of the stock registry (versions 2 and 3), a Compose
file, a script with docker run, an env file, Kubernetes manifests, htpasswd, a
certificate or a key in PEM, the values of the Helm charts docker-registry (twuni),
harbor and gitlab, harbor.yml, or gitlab.rb. What it is, is told by what is in it. The
FILEs together are one registry: those that one names, such as /certs/domain.crt, are
found among the others by their name, and what a Compose file mounts is read.

The user-data goes to standard output, and has every secret of the FILEs in it: write
it to a file of your own (umask 077). What could not be carried over is a comment in
it, with the reason, and a line on standard error, where there is never a secret. When
no valid user-data can be made, or logins, certificates and settings are missing that the
FILEs name, the exit status is 1, nothing is printed, and the messages say all that is
missing.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			return appliance.Import(files, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&o.Hostname, "hostname", "", "the `NAME` or address that clients use, instead of the one in the FILEs")
	cmd.Flags().BoolVar(&o.Incomplete, "incomplete", false, "do without files that the FILEs name and that are not there")
	return cmd
}
