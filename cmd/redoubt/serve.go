package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/registry"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
)

func serveCommand() *cobra.Command {
	var opts registry.Options
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry on the sockets that systemd holds",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return registry.Serve(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Config, "config", "/run/redoubt/registry.yml", "the registry's configuration, in distribution's own words")
	flags.StringVar(&opts.Maintenance, "maintenance", "/run/redoubt/maintenance.json", "while this file exists every answer is 503 with the reason in it")
	flags.StringVar(&opts.Certificates, "certificates", "/var/lib/redoubt/certificates/current", "directory of tls.crt and tls.key for a machine in maintenance without a configuration")
	flags.StringVar(&opts.Challenges, "challenges", "/var/lib/redoubt/challenges", "directory with the answers to the challenges of an ACME CA")
	flags.StringVar(&opts.Renewal, "renewal", "/run/redoubt/renew.json", "what redoubt renew says of the certificate")
	flags.StringVar(&opts.Storage, "storage", health.StatePath, "what redoubt health says of the storage")
	flags.StringVar(&opts.StorageRecord, "storage-record", storagecheck.RecordPath, "what remembers which file system the storage is")
	return cmd
}
