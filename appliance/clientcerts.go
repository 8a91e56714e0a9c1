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
)

// ClientOptions are what the caller of IssueClient chooses.
type ClientOptions struct {
	Name         string
	Days         int
	Out          string // directory
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

// IssueClient issues a client's certificate and writes it to a directory.
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
	if _, err := os.Lstat(filepath.Join(o.Out, host)); err == nil {
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
	dir, err := clientca.Export(o.Out, host, bundle(cas), issued)
	if err == nil && o.PKCS12 {
		err = clientca.ExportPKCS12(dir, password, issued)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "issued   %s, serial number %s, to %s\n", issued.Client.Name, issued.Client.Serial, day(issued.Client.NotAfter))
	fmt.Fprintf(m.Out, "wrote    %s\n", dir)
	if o.PKCS12 && o.PasswordFile == "" {
		fmt.Fprintf(m.Out, "password of client.p12: %s\n", password)
	}
	if now.cfg.TLS.ClientAuth.Mode == "none" {
		fmt.Fprintln(m.Out, "warning: tls.clientAuth.mode is none: the registry does not ask for it")
	}
	return nil
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
