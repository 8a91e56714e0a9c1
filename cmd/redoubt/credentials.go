package main

import (
	"log"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/role"
)

func credentialsCommand() *cobra.Command {
	var check bool
	o := role.Options{User: paths.RegistryUser}
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "Give the credentials of the instance's role to the registry (for redoubt-credentials.service)",
		Long: `Give the credentials of the instance's role to the registry, on the unix socket
that redoubt-credentials.socket holds. It asks the metadata service of the cloud by
IMDSv2 and nothing older, gets new credentials before the old ones expire, and keeps
using the old ones while the metadata service cannot be reached.

Root gets them; the registry gets them while storage.s3.iamRole is set.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return role.Check(cmd.Context(), o, cmd.OutOrStdout())
			}
			return role.Serve(cmd.Context(), o, log.New(cmd.ErrOrStderr(), "", 0))
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&check, "check", false, "ask the metadata service once, as root, print what it gives without the secrets, and exit")
	flags.StringVar(&o.Metadata, "metadata", "", "URL of the metadata service, in place of its usual addresses")
	flags.StringVar(&o.Grant, "grant", paths.S3Keys, "the file that says whether the registry uses the role")
	flags.DurationVar(&o.Idle, "idle", time.Hour, "exit after this long without a request")
	return cmd
}
