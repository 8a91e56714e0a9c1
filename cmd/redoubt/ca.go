package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func caCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Hand out the server's CA, and the certificates of clients",
		Long: `Hand out the server's CA, and the certificates of clients.

The server's CA and the clients' are two: no client can pass for the server. The
clients' counts where tls.clientAuth.mode is optional or required.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(caTrustCommand(), caReplaceCommand(), caClientCommand(), caSignCommand(), caRevokeCommand(), caListCommand())
	return cmd
}

func caTrustCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "trust",
		Short: "Print the CA that clients check the server with, as PEM; its SHA-256 goes to stderr",
		Long: `Print the CA that clients check the server with, as PEM; its SHA-256 goes to stderr.

A machine that was given another name or address later has a CA more for it: all are
printed, one after the other, and clients may be given all. What stderr says has the names
that each is for.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.Trust(cmd.ErrOrStderr()) })
		},
	}
}

func caReplaceCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "replace",
		Short: "Make a new CA in place of one that is damaged; clients must then fetch it",
		Long: `Make a new CA in place of one that is damaged; clients must then fetch it.

A machine never replaces a CA that it cannot read: its clients trust it all the same, and
the file may come back from a backup. This is how you say that it will not. The old files
stay beside the new ones under a name with the time in it. The configuration is applied
then, as redoubt apply does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.ReplaceCA(cmd.Context(), all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "replace also what is not damaged, as after a key was stolen")
	return cmd
}

func caClientCommand() *cobra.Command {
	var o appliance.ClientOptions
	cmd := &cobra.Command{
		Use:   "client NAME --out DIR",
		Short: "Issue a client certificate, as docker, podman and containerd read it",
		Long: `Issue a client certificate, as docker, podman and containerd read it.

DIR gets HOST[:PORT]/ with ca.crt, client.cert, client.key and hosts.toml: copy it to
/etc/docker/certs.d or /etc/containers/certs.d of the client, or name DIR to
containerd as its config_path. The key is nowhere else; this machine does not keep it.
With --out - the same goes to stdout as a tar archive, and to no disk here:
ssh MACHINE sudo redoubt ca client NAME --out - | tar -x

NAME becomes the certificate's common name, which auth.clientCertificates matches.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name, o.Archive = args[0], cmd.OutOrStdout()
			if o.Out == "-" && isTerminal(o.Archive) {
				return errors.New("--out - writes a tar archive, and this is a terminal: add | tar -x, or name a directory")
			}
			return onMachine(cmd, func(m *appliance.Machine) error { return m.IssueClient(o) })
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Days, "days", 90, "how long it is valid, at most 365")
	flags.StringVar(&o.Out, "out", "", "the `DIR` to write to, or - for a tar archive on stdout")
	flags.BoolVar(&o.PKCS12, "pkcs12", false, "write client.p12 as well, for browsers and Java")
	flags.StringVar(&o.PasswordFile, "password-file", "", "`FILE` with the password of client.p12 (default: one is made and printed)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // only for a flag that does not exist
	}
	return cmd
}

func caSignCommand() *cobra.Command {
	var o appliance.SignOptions
	cmd := &cobra.Command{
		Use:   "sign [FILE]",
		Short: "Sign a client's certificate request, so that its key stays with the client",
		Long: `Sign a client's certificate request, so that its key stays with the client.

FILE is a request (PKCS #10) in PEM or DER, as openssl req -new writes it; without FILE,
or with -, it comes from stdin. The certificate goes to stdout, and what was signed to
stderr.

The certificate has one common name, the request's or the one of --name, and nothing else
that the request asks for. auth.clientCertificates matches it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("cannot read the certificate request: %w", err)
				}
				defer f.Close()
				in = f
			}
			return onMachine(cmd, func(m *appliance.Machine) error { return m.SignClient(in, o, cmd.ErrOrStderr()) })
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Days, "days", 90, "how long it is valid, at most 365")
	flags.StringVar(&o.Name, "name", "", "the common `NAME`, in place of the request's")
	return cmd
}

func caRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME|SERIAL",
		Short: "Revoke a client's certificates by its name, or one by its serial number",
		Long: `Revoke a client's certificates by its name, or one by its serial number.

The registry takes it up within seconds, on connections that are open too.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.RevokeClient(args[0]) })
		},
	}
}

func caListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the client certificates that were issued",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.ListClients(asJSON) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
