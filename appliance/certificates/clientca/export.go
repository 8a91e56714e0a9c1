package clientca

import (
	"archive/tar"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// hostsTOML is for containerd; docker and podman ignore it. A client's certificate is a
// list in a list: containerd reads a flat list as CAs.
const hostsTOML = `server = "https://%[1]s"

[host."https://%[1]s"]
  capabilities = ["pull", "resolve", "push"]
%[2]s  client = [["client.cert", "client.key"]]
`

// File is one of those that a client needs, below its registry's address.
type File struct {
	Name string
	Mode os.FileMode
	Data []byte
}

// Files are ca.crt, client.cert, client.key and hosts.toml, as docker, podman, skopeo and
// containerd read them from their certs.d. serverCA is what clients check the server
// with; empty: their system's own trust.
func Files(address string, serverCA []byte, issued Issued) []File {
	var files []File
	ca := ""
	if len(serverCA) > 0 {
		files, ca = append(files, File{"ca.crt", 0o644, serverCA}), "  ca = [\"ca.crt\"]\n"
	}
	return append(files, File{"client.cert", 0o644, issued.CertPEM}, File{"client.key", 0o600, issued.KeyPEM},
		File{"hosts.toml", 0o644, fmt.Appendf(nil, hostsTOML, address, ca)})
}

// PKCS12 is client.p12, which browsers and Java read.
func PKCS12(password string, issued Issued) (File, error) {
	if len(password) < 8 {
		return File{}, errors.New("a password of PKCS #12 has at least 8 characters")
	}
	data, err := pkcs12.Modern2023.Encode(issued.Key, issued.Certificate, []*x509.Certificate{issued.CA}, password)
	if err != nil {
		return File{}, fmt.Errorf("cannot make client.p12: %w", err)
	}
	return File{"client.p12", 0o600, data}, nil
}

// Export writes the files to dir/ADDRESS/. It refuses to overwrite.
func Export(dir, address string, files []File) (string, error) {
	out := filepath.Join(dir, address)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the output directory: %w", err)
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the output directory: %w (remove it, or choose another --out)", err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(out, f.Name), f.Data, f.Mode); err != nil {
			return "", fmt.Errorf("cannot write %s: %w", f.Name, err)
		}
	}
	return out, nil
}

// Tar writes the files to w as a tar archive of ADDRESS/, so that no key lies on the
// disk of this machine.
func Tar(w io.Writer, address string, files []File, now time.Time) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: path.Join(address, f.Name), Mode: int64(f.Mode), Size: int64(len(f.Data)), ModTime: now, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("cannot write the archive: %w", err)
		}
		if _, err := archive.Write(f.Data); err != nil {
			return fmt.Errorf("cannot write the archive: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	return nil
}
