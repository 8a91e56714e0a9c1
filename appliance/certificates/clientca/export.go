package clientca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"software.sslmate.com/src/go-pkcs12"
)

// hostsTOML is for containerd; docker and podman ignore it. A client's certificate is a
// list in a list: containerd reads a flat list as CAs.
const hostsTOML = `server = "https://%[1]s"

[host."https://%[1]s"]
  capabilities = ["pull", "resolve", "push"]
%[2]s  client = [["client.cert", "client.key"]]
`

// Export writes dir/ADDRESS/ with ca.crt, client.cert, client.key and hosts.toml,
// as docker, podman, skopeo and containerd read it from their certs.d. serverCA
// is what clients check the server with; empty: their system's own trust. It
// refuses to overwrite.
func Export(dir, address string, serverCA []byte, issued Issued) (string, error) {
	out := filepath.Join(dir, address)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the output directory: %w", err)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the output directory: %w (remove it, or choose another --out)", err)
	}
	files, ca := map[string][]byte{"client.cert": issued.CertPEM}, ""
	if len(serverCA) > 0 {
		files["ca.crt"], ca = serverCA, "  ca = [\"ca.crt\"]\n"
	}
	files["hosts.toml"] = fmt.Appendf(nil, hostsTOML, address, ca)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			return "", fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(out, "client.key"), issued.KeyPEM, 0o600); err != nil {
		return "", fmt.Errorf("cannot write client.key: %w", err)
	}
	return out, nil
}

// ExportPKCS12 writes dir/client.p12, which browsers and Java read.
func ExportPKCS12(dir, password string, issued Issued) error {
	if len(password) < 8 {
		return errors.New("a password of PKCS #12 has at least 8 characters")
	}
	data, err := pkcs12.Modern2023.Encode(issued.Key, issued.Certificate, []*x509.Certificate{issued.CA}, password)
	if err != nil {
		return fmt.Errorf("cannot make client.p12: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.p12"), data, 0o600); err != nil {
		return fmt.Errorf("cannot write client.p12: %w", err)
	}
	return nil
}
