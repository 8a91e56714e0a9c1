package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// caFile is the CA's name in the machine's directory.
const caFile = "ca.crt"

// authority is the machine's own CA.
type authority struct {
	fingerprint string // SHA-256, in hexadecimal
	proof       string // how we know that it is the machine's
}

// fetchCA takes the CA's certificate from what the machine sends in a TLS
// handshake, checks that it signed the server's, compares its fingerprint with the
// one on the serial console, and writes it into the machine's directory.
func fetchCA(v *vm.VM, s settings) (authority, error) {
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port),
		&tls.Config{InsecureSkipVerify: true}) // this is how the CA is found out
	if err != nil {
		return authority{}, fmt.Errorf("cannot fetch the machine's CA: %w", err)
	}
	defer conn.Close()
	chain := conn.ConnectionState().PeerCertificates
	root := chain[len(chain)-1]
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if !root.IsCA {
		return authority{}, errors.New("cannot fetch the machine's CA: the machine sends its own certificate alone")
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: pool}); err != nil {
		return authority{}, fmt.Errorf("cannot trust the CA that the machine sends: %w", err)
	}
	ca := authority{fingerprint: fmt.Sprintf("%x", sha256.Sum256(root.Raw)), proof: "as served on the loopback port"}
	console := strings.ToLower(strings.ReplaceAll(v.Console(), ":", ""))
	if strings.Contains(console, ca.fingerprint) {
		ca.proof = "the same as on the machine's console"
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	return ca, os.WriteFile(filepath.Join(s.dir, caFile), text, 0o644)
}
