package dns01

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

const hookTimeout = 30 * time.Second

// Hook is a web service that makes records, in the form that lego calls httpreq
// (https://go-acme.github.io/lego/dns/httpreq/).
type Hook struct {
	URL, Username, Password string
	Roots                   string // PEM; empty: the system's
}

// post asks for a record to be made (present) or taken away (cleanup).
func (h Hook) post(ctx context.Context, proxy outbound.Proxy, what string, r Record) error {
	body, err := json.Marshal(map[string]string{"fqdn": r.Name, "value": r.Value})
	if err != nil {
		return fmt.Errorf("cannot ask tls.acme.dns.hook: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(h.URL, "/")+"/"+what, bytes.NewReader(body))
	if err != nil {
		return errors.New("cannot ask tls.acme.dns.hook: its URL cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	if h.Username != "" || h.Password != "" {
		request.SetBasicAuth(h.Username, h.Password)
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if h.Roots != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(h.Roots))
	}
	client := &http.Client{Transport: proxy.Through(transport), Timeout: hookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return fmt.Errorf("cannot reach tls.acme.dns.hook: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // what it says is not needed
	switch {
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("tls.acme.dns.hook refuses the login (it answers %s): check username and password", answer.Status)
	case answer.StatusCode/100 != 2:
		return fmt.Errorf("tls.acme.dns.hook answers %s to %s", answer.Status, what)
	}
	return nil
}
