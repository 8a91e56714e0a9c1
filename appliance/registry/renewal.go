package registry

import (
	"encoding/json"
	"os"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
)

// renewalSamples are the results of the last redoubt renew; all zero before the first.
func (s *server) renewalSamples() []metrics.Sample {
	of := func(f func(*renewal.Summary) float64) func() float64 {
		return func() float64 { return f(readRenewal(s.opts.Renewal)) }
	}
	return []metrics.Sample{
		{Name: "redoubt_renewal_last_try_seconds", Help: "When a certificate was last requested, Unix time.", Value: of(func(s *renewal.Summary) float64 { return unix(s.Tried) })},
		{Name: "redoubt_renewal_last_success_seconds", Help: "When a certificate was last obtained, Unix time.", Value: of(func(s *renewal.Summary) float64 { return unix(s.Succeeded) })},
		{Name: "redoubt_renewal_next_try_seconds", Help: "When something will be due for the certificate, a question to the CA too, Unix time.", Value: of(func(s *renewal.Summary) float64 { return unix(s.Next) })},
		{Name: "redoubt_renewal_due_seconds", Help: "When the certificate is renewed, Unix time; 0 if nobody knows.", Value: of(func(s *renewal.Summary) float64 { return unix(s.Renews) })},
		{Name: "redoubt_renewal_failures", Help: "Failed tries for a certificate in a row.", Value: of(func(s *renewal.Summary) float64 { return float64(s.Failures) })},
		{Name: "redoubt_renewal_error", Help: "1 while the last renewal ended in an error.", Value: of(func(s *renewal.Summary) float64 { return number(s.Error != "") })},
		{Name: "redoubt_renewal_alert", Help: "1 while an operator should act on the certificate.", Value: of(func(s *renewal.Summary) float64 { return number(s.Alert != "") })},
	}
}

func readRenewal(path string) *renewal.Summary {
	s := &renewal.Summary{}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, s) != nil {
		return &renewal.Summary{}
	}
	return s
}

// unix is a time in seconds since 1970, as Prometheus expects it; zero for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
