package appliance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// aliveTimeout is for one address.
const aliveTimeout = 5 * time.Second

// stillAnswers is where a machine answers as the one that was unpacked below scratch: with
// its certificate, with another one of its authority, or with one that the system trusts
// for its name. Empty: nowhere, as far as this machine can see.
func stillAnswers(ctx context.Context, cfg config.Config, scratch string) string {
	if cfg.TLS.Mode == "off" {
		return ""
	}
	address := net.JoinHostPort(cfg.Hostname, strconv.Itoa(cfg.Listen.HTTPSPort))
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: cfg.Hostname}} // whose it is is what is asked
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	shown := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if len(shown) == 0 {
		return ""
	}
	own := x509.NewCertPool()
	if data, err := os.ReadFile(filepath.Join(scratch, paths.CA, "ca.crt")); err == nil {
		own.AppendCertsFromPEM(data)
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, byOwn := shown[0].Verify(x509.VerifyOptions{Roots: own, Intermediates: between})
	_, bySystem := shown[0].Verify(x509.VerifyOptions{Intermediates: between, DNSName: cfg.Hostname})
	pair, err := cert.Current(filepath.Join(scratch, paths.Certificates))
	if byOwn == nil || bySystem == nil || err == nil && pair.Leaf.Equal(shown[0]) {
		return address
	}
	return ""
}
