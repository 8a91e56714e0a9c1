package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registry"
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
	flags.StringVar(&opts.Config, "config", paths.RegistryYML, "the registry's configuration, in distribution's own words")
	flags.StringVar(&opts.Maintenance, "maintenance", paths.Maintenance, "while this file exists every answer is 503 with the reason in it")
	flags.StringVar(&opts.Certificates, "certificates", paths.Current, "directory of tls.crt and tls.key for a machine in maintenance without a configuration")
	flags.StringVar(&opts.Challenges, "challenges", paths.Challenges, "directory with the answers to the challenges of an ACME CA")
	flags.StringVar(&opts.Backup, "backup", paths.Backup, "how the last backup went")
	flags.StringVar(&opts.Collection, "collection", paths.Collection, "what redoubt gc did last")
	flags.StringVar(&opts.Renewal, "renewal", paths.Renewal, "what redoubt renew says of the certificate")
	flags.StringVar(&opts.Storage, "storage", paths.StorageState, "what redoubt health says of the storage")
	flags.StringVar(&opts.AccessJournal, "access-journal", paths.AccessJournal, "the socket of the journal that gets the access log, under systemd")
	flags.StringVar(&opts.AuditJournal, "audit-journal", paths.AuditJournal, "the socket of the journal that gets the audit log, under systemd")
	flags.StringVar(&opts.AuditInbox, "audit-inbox", paths.AuditInbox, "where other processes leave events for the audit log")
	flags.StringVar(&opts.Deliveries, "deliveries", paths.Deliveries, "the file that gets what cannot be delivered")
	flags.StringVar(&opts.StorageRecord, "storage-record", paths.StorageRecord, "what remembers which file system the storage is")
	return cmd
}
