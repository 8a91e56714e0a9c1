package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/target"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

const (
	maxAnswer    = 1 << 20 // bytes: all the keys of the largest issuers are some kilobytes
	fetchTimeout = 10 * time.Second
	stepTimeout  = 5 * time.Second // to connect, and to the first byte of an answer
)

// guard says whether an address may be asked: an issuer, or who answers for its name, must
// not make this machine ask itself or a metadata service.
func guard(address string, loopback bool) error {
	end, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("cannot use the address %s", address)
	}
	return target.Problem(end.Addr(), loopback)
}

// Client asks issuers, and nobody else: it follows no redirect, reads a bounded answer in
// bounded time, and connects neither to this machine nor to a metadata service. loopback
// is for an issuer that is on this machine by its name. cas are PEM; nil: those of the
// system.
func Client(cas []byte, loopback bool) *http.Client {
	dialer := &net.Dialer{Timeout: stepTimeout, ControlContext: func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		if outbound.ToProxy(ctx) { // the operator named it
			return nil
		}
		return guard(address, loopback)
	}}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: stepTimeout, ResponseHeaderTimeout: stepTimeout,
		MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
	if cas != nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cas)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: bounded{outbound.Own("/").Through(transport), loopback}, Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded ends an answer that is too long with an error.
type bounded struct {
	http.RoundTripper
	loopback bool
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if a, err := netip.ParseAddr(r.URL.Hostname()); err == nil { // a proxy must not be asked for it either
		if err := guard(netip.AddrPortFrom(a, 0).String(), b.loopback); err != nil {
			return nil, err
		}
	}
	w, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		w.Body = &bodyLimit{ReadCloser: w.Body, left: maxAnswer}
	}
	return w, err
}

type bodyLimit struct {
	io.ReadCloser
	left int
}

func (b *bodyLimit) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return n, err
}

// onLoopback says whether a URL names this machine itself.
func onLoopback(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return a.Unmap().IsLoopback()
	}
	return u.Hostname() == "localhost"
}

// get reads JSON from a URL. Its errors have nothing of the answer in them.
func get(ctx context.Context, client *http.Client, from string, into any) error {
	u, err := url.Parse(from)
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !onLoopback(from)) || u.Host == "" || u.User != nil {
		return errors.New("it names a URL that is not https")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return errors.New("it names something that is no URL")
	}
	r.Header.Set("Accept", "application/json")
	w, err := client.Do(r)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return err
	}
	defer w.Body.Close()
	switch {
	case w.StatusCode/100 == 3:
		return fmt.Errorf("%s redirects, which is not followed", u.Host)
	case w.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %d", u.Host, w.StatusCode)
	}
	data, err := io.ReadAll(w.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s answers what is not the JSON that was asked for", u.Host)
	}
	return nil
}
