package appliance

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

// Metrics prints what the registry tells Prometheus, if it asks for no login.
func (m *Machine) Metrics(ctx context.Context) error {
	now, err := m.serving()
	if err != nil {
		return err
	}
	if a := now.cfg.Metrics.Auth; a.TokenHash != "" || len(a.ClientCAs) > 0 {
		return fmt.Errorf("cannot read the metrics without the token or the client certificate of metrics.auth, which this machine does not have: ask https://%s/metrics with it", now.cfg.Metrics.Listen)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+now.cfg.Metrics.Listen+"/metrics", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("the registry does not answer on %s (metrics.listen): %w; see: redoubt status", now.cfg.Metrics.Listen, files.Cause(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s (metrics.listen)", now.cfg.Metrics.Listen, response.Status)
	}
	_, err = io.Copy(m.Out, response.Body)
	return err
}
