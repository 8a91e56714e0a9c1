package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// issuerFile is the root of what a CA for tests issues, beside the user-data:
// make pebble writes it there.
const issuerFile = "issuer.crt"

// publicLimit is how long a public certificate is waited for.
const publicLimit = 90 * time.Second

// errNoPublic is a machine on which its own CA serves on.
var errNoPublic = errors.New("no public certificate has come")

// held is a connection to the registry that is kept open.
type held struct {
	chain  []*x509.Certificate
	client *http.Client
	url    string
	conn   net.Conn
}

// hold connects. Its client never connects again: a registry that was restarted
// would have closed the connection.
func hold(ctx context.Context, port int) (*held, error) {
	at := fmt.Sprintf("127.0.0.1:%d", port)
	chain, conn, err := handshake(ctx, at)
	if err != nil {
		return nil, err
	}
	only := make(chan net.Conn, 1)
	only <- conn
	dial := func(context.Context, string, string) (net.Conn, error) {
		select {
		case c := <-only:
			return c, nil
		default:
			return nil, errors.New("the connection is closed")
		}
	}
	transport := &http.Transport{DialTLSContext: dial}
	return &held{chain: chain, url: "https://" + at + "/v2/", conn: conn,
		client: &http.Client{Timeout: 20 * time.Second, Transport: transport}}, nil
}

// alive asks something on the connection.
func (h *held) alive(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// handshake answers the certificates that the registry sends.
func handshake(ctx context.Context, at string) ([]*x509.Certificate, net.Conn, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 20 * time.Second},
		Config:    &tls.Config{InsecureSkipVerify: true}, // it is looked at
	}
	conn, err := dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot see the registry's certificate: %w", err)
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, conn, nil
}

// awaitPublic waits until the certificate is no longer the own CA's, and says what
// it saw. It answers the chain that serves then.
func awaitPublic(ctx context.Context, out io.Writer, v *vm.VM, s settings) ([]*x509.Certificate, error) {
	h, err := hold(ctx, s.port)
	if err != nil {
		return nil, err
	}
	defer h.conn.Close()
	before := h.chain[0]
	if _, _, err := findCA(h.chain, v.Console()); err != nil {
		fmt.Fprintf(out, "The certificate is of %s.\n", before.Issuer)
		return h.chain, nil
	}
	fmt.Fprintf(out, "The certificate is of %s, the machine's own CA. Waiting for the public one.\n", before.Issuer)
	ctx, cancel := context.WithTimeout(ctx, publicLimit)
	defer cancel()
	var restarted error
	var chain []*x509.Certificate
	err = v.Await(ctx, "a public certificate", func() (bool, error) {
		if err := h.alive(ctx); err != nil && ctx.Err() == nil {
			restarted = err
		}
		now, conn, err := handshake(ctx, fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			return false, nil // it is asked again
		}
		conn.Close()
		chain = now
		return !bytes.Equal(now[0].RawIssuer, before.RawIssuer), nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("%w in %s: redoubt status on the machine says why", errNoPublic, publicLimit)
	case err != nil:
		return nil, err
	}
	if err := h.alive(ctx); err != nil || restarted != nil {
		fmt.Fprintf(out, "The certificate is now of %s (was the own CA's), but the connection from before it was cut: %v\n",
			chain[0].Issuer, errors.Join(restarted, err))
		return chain, nil
	}
	fmt.Fprintf(out, "The certificate is now of %s (was the own CA's); the registry was not restarted: a connection from before is still served.\n", chain[0].Issuer)
	return chain, nil
}

// issuer is the CA that the chain holds against: one beside the user-data. Without
// that file it is told only whether this machine trusts the chain.
func issuer(chain []*x509.Certificate, s settings) (authority, error) {
	options := x509.VerifyOptions{Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	file := filepath.Join(filepath.Dir(s.userData), issuerFile)
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := chain[0].Verify(options); err != nil {
			return authority{proof: "of a CA that this machine does not trust"}, nil
		}
		return authority{proof: "of a CA that this machine trusts"}, nil
	case err != nil:
		return authority{}, fmt.Errorf("cannot read the CA beside the user-data: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return authority{}, fmt.Errorf("cannot read %s: it is no PEM", file)
	}
	options.Roots = x509.NewCertPool()
	options.Roots.AppendCertsFromPEM(text)
	if _, err := chain[0].Verify(options); err != nil {
		return authority{}, fmt.Errorf("cannot check the certificate with %s: %w", file, err)
	}
	ca := authority{fingerprint: fmt.Sprintf("%x", sha256.Sum256(block.Bytes)), proof: "the certificate that serves holds against it"}
	return ca, os.WriteFile(filepath.Join(s.dir, caFile), text, 0o644)
}
