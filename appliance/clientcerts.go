package appliance

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// ClientOptions are what the caller of IssueClient chooses.
type ClientOptions struct {
	Name         string
	Days         int
	Out          string    // directory; "-" is Archive
	Archive      io.Writer // gets a tar archive
	PKCS12       bool
	PasswordFile string // of PKCS #12; empty: a password is made
}

// serving is the present target of a machine that has a configuration.
func (m *Machine) serving() (target, error) {
	now := m.present().target
	if now.cfg.Hostname == "" {
		return now, errors.New("this machine has no configuration in force yet: redoubt apply")
	}
	return now, nil
}

// Trust prints the CA that clients check the server with, and its fingerprint on aside,
// for people to compare.
func (m *Machine) Trust(aside io.Writer) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	cas, err := m.servingCAs(now)
	if err != nil {
		return err
	}
	if len(cas) == 0 {
		return fmt.Errorf("the server's certificate is not of a CA of this machine (tls.mode is %s): clients need what its issuer says", now.cfg.TLS.Mode)
	}
	for _, line := range fingerprints(cas) {
		fmt.Fprintln(aside, "SHA-256", line)
	}
	_, err = m.Out.Write(bundle(cas))
	return err
}

// bundle is all of the authorities, for clients to trust.
func bundle(cas []servingCA) []byte {
	var out []byte
	for _, ca := range cas {
		out = append(out, ca.pem...)
	}
	return out
}

// IssueClient issues a client's certificate and writes it to a directory, or as an
// archive.
func (m *Machine) IssueClient(o ClientOptions) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	if o.PasswordFile != "" && !o.PKCS12 {
		return errors.New("--password-file goes with --pkcs12")
	}
	password, err := o.password()
	if err != nil {
		return err
	}
	cas, err := m.servingCAs(now)
	if err != nil {
		return err
	}
	host := strings.TrimPrefix(address(now.cfg), "https://")
	if _, err := os.Lstat(filepath.Join(o.Out, host)); err == nil && o.Out != "-" {
		return fmt.Errorf("%s exists: remove it, or choose another --out", filepath.Join(o.Out, host))
	}
	store, err := m.clientCA(now)
	if err != nil {
		return err
	}
	defer store.Close()
	issued, err := store.Issue(o.Name, o.Days)
	if err != nil {
		return err
	}
	clientFiles := clientca.Files(host, bundle(cas), issued)
	if o.PKCS12 {
		f, err := clientca.PKCS12(password, issued)
		if err != nil {
			return err
		}
		clientFiles = append(clientFiles, f)
	}
	say := m.Out
	if o.Out == "-" {
		say = m.Warnings
	}
	fmt.Fprintf(say, "issued   %s, serial number %s, to %s\n", issued.Client.Name, issued.Client.Serial, day(issued.Client.NotAfter))
	if err := m.handOut(o, host, clientFiles); err != nil {
		return err
	}
	if o.PKCS12 && o.PasswordFile == "" {
		fmt.Fprintf(say, "password of client.p12: %s\n", password)
	}
	warnUnasked(now, m.Warnings)
	return nil
}

// handOut writes a client's files where o says.
func (m *Machine) handOut(o ClientOptions, host string, clientFiles []clientca.File) error {
	if o.Out == "-" {
		return clientca.Tar(o.Archive, host, clientFiles, m.Now())
	}
	dir, err := clientca.Export(o.Out, host, clientFiles)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "wrote    %s\n", dir)
	return nil
}

// SignOptions are what the caller of SignClient chooses.
type SignOptions struct {
	Name string // empty: the request's common name
	Days int
}

// SignClient signs a certificate request, in PEM or DER, and prints the certificate. The
// client's key never comes to this machine. aside gets what people read.
func (m *Machine) SignClient(request io.Reader, o SignOptions, aside io.Writer) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(request, cert.MaxRequest+1))
	if err != nil {
		return fmt.Errorf("cannot read the certificate request: %w", files.Cause(err))
	}
	r, err := cert.ParseRequest(data)
	if err != nil {
		return fmt.Errorf("cannot use the certificate request: %w", err)
	}
	store, err := m.clientCA(now)
	if err != nil {
		return err
	}
	defer store.Close()
	signed, err := store.Sign(r, o.Name, o.Days)
	if err != nil {
		return err
	}
	fmt.Fprintf(aside, "signed   %s, serial number %s, to %s\n", signed.Client.Name, signed.Client.Serial, day(signed.Client.NotAfter))
	if len(r.Subject.Names) > 1 || len(r.Extensions) > 0 {
		fmt.Fprintln(aside, "the certificate has this name alone: what else the request asks for is left out")
	}
	warnUnasked(now, aside)
	_, err = m.Out.Write(signed.CertPEM)
	return err
}

// warnUnasked says that no client is asked for a certificate.
func warnUnasked(now target, out io.Writer) {
	if now.cfg.TLS.ClientAuth.Mode == "none" {
		fmt.Fprintln(out, "warning: tls.clientAuth.mode is none: the registry does not ask for it")
	}
}

func (o ClientOptions) password() (string, error) {
	switch {
	case !o.PKCS12:
		return "", nil
	case o.PasswordFile == "":
		return rand.Text(), nil
	}
	data, err := cert.ReadFile(o.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// RevokeClient revokes by name or serial number. The registry reads the list every
// second.
func (m *Machine) RevokeClient(nameOrSerial string) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	store, err := m.clientCA(now)
	if err != nil {
		return err
	}
	defer store.Close()
	gone, err := store.Revoke(nameOrSerial)
	if err != nil {
		return err
	}
	for _, c := range gone {
		fmt.Fprintf(m.Out, "revoked  %s, serial number %s\n", c.Name, c.Serial)
	}
	if len(gone) == 0 {
		fmt.Fprintln(m.Out, "it was revoked before")
	}
	m.backUpSoon(now.cfg) // a restore must not let them in again
	return nil
}

// ListClients prints what was issued.
func (m *Machine) ListClients(asJSON bool) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	store, err := m.clientCA(now)
	if err != nil {
		return err
	}
	defer store.Close()
	list := store.List()
	if asJSON {
		encoder := json.NewEncoder(m.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(append([]clientca.Client{}, list...))
	}
	w := tabwriter.NewWriter(m.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSERIAL NUMBER\tENDS\tSTATE")
	for _, c := range list {
		state := "valid"
		switch {
		case c.Revoked != nil:
			state = "revoked " + day(*c.Revoked)
		case m.Now().After(c.NotAfter):
			state = "expired"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, c.Serial, day(c.NotAfter), state)
	}
	return w.Flush()
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
