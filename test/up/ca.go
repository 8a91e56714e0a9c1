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

// authority is the CA that the machine's clients must trust.
type authority struct {
	fingerprint string // SHA-256, in hexadecimal; empty: we have not got it
	proof       string // how we know that it is the machine's, or why we have not got it
}

// fetchCA takes the CA's certificate from what the machine sends in a TLS
// handshake, or shows on its serial console, checks that it signed the server's,
// compares its fingerprint with the one on the console, and writes it into the
// machine's directory.
func fetchCA(v *vm.VM, s settings) (authority, error) {
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port),
		&tls.Config{InsecureSkipVerify: true}) // this is how the CA is found out
	if err != nil {
		return authority{}, fmt.Errorf("cannot fetch the machine's CA: %w", err)
	}
	defer conn.Close()
	root, ca, err := findCA(conn.ConnectionState().PeerCertificates, v.Console())
	if err != nil {
		return ca, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	return ca, os.WriteFile(filepath.Join(s.dir, caFile), text, 0o644)
}

// findCA picks the CA of the first certificate out of those sent and those shown.
func findCA(sent []*x509.Certificate, console string) (*x509.Certificate, authority, error) {
	for _, root := range append(sent[1:len(sent):len(sent)], shown(console)...) {
		if !root.IsCA || sent[0].CheckSignatureFrom(root) != nil {
			continue
		}
		ca := authority{fingerprint: fmt.Sprintf("%x", sha256.Sum256(root.Raw)), proof: "as served on the loopback port"}
		if strings.Contains(strings.ToLower(strings.ReplaceAll(console, ":", "")), ca.fingerprint) {
			ca.proof = "the same as on the machine's console"
		}
		return root, ca, nil
	}
	return nil, authority{}, errors.New("cannot fetch the machine's CA: the machine neither sends it nor shows it on its console")
}

// shown are the certificates on the console.
func shown(console string) (all []*x509.Certificate) {
	for rest := []byte(console); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return all
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
}
