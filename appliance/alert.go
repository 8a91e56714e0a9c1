package appliance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/units"
)

const (
	// alertPause is the time between two alerts for the same cause.
	alertPause = 24 * time.Hour
	// alertTimeout is for one try, alertPatience for all: less than the unit may take.
	alertTimeout  = 15 * time.Second
	alertPatience = 40 * time.Second
)

// alert is the JSON for the webhook. Text repeats the message under the key that chat
// servers read.
type alert struct {
	Hostname string    `json:"hostname"`
	Unit     string    `json:"unit"`
	Cause    string    `json:"cause"`
	Time     time.Time `json:"time"`
	Message  string    `json:"message"`
	Text     string    `json:"text"`
}

// Alert tells people that a unit has failed: on Out, which is the journal and the
// console, and then by the webhook. One cause is told once a day; one that the webhook
// did not take is told again. Alerts of several units go out side by side. result is what
// systemd says of the failure; it may be empty. A renewal that fails is no alert
// as long as there is time: the renewer says when there is not.
func (m *Machine) Alert(ctx context.Context, unit, result string) error {
	now := m.present().target
	cause := m.cause(unit, result)
	if cause == "" {
		return nil
	}
	return m.tell(ctx, now, unit, cause, m.Out)
}

// tellOfTrust tells people whose clients need another CA from now on.
func (m *Machine) tellOfTrust(ctx context.Context, now target, ended []cert.Trust) {
	for _, t := range ended {
		// The plan has said it on Out.
		if err := m.tell(ctx, now, units.Apply, t.String(), io.Discard); err != nil {
			m.warn("%v", err)
		}
	}
}

// tell tells people of a cause once a day: on out and by the webhook.
func (m *Machine) tell(ctx context.Context, now target, unit, cause string, out io.Writer) error {
	host := cmp.Or(now.cfg.Hostname, "this machine")
	a := alert{Hostname: now.cfg.Hostname, Unit: unit, Cause: cause, Time: m.Now().UTC()}
	a.Message = fmt.Sprintf("Redoubt on %s: %s; see: journalctl -u %s", host, cause, unit)
	a.Text = a.Message
	key := unit + ": " + cause
	if since := m.Now().Sub(m.told()[key]); since >= 0 && since < alertPause {
		return nil
	}
	fmt.Fprintln(out, a.Message)
	hook, err := m.resolver().Value(now.cfg.Alerts.Webhook)
	if err != nil {
		return fmt.Errorf("cannot use alerts.webhook: %w", err)
	}
	if hook != "" {
		if err := post(ctx, hook, outbound.Own(m.Root), a); err != nil {
			return fmt.Errorf("cannot post the alert to alerts.webhook: %w", err)
		}
	}
	return m.keepTold(ctx, key)
}

// cause is why there is an alert, without what differs from one time to the next.
func (m *Machine) cause(unit, result string) string {
	if unit == units.Health {
		return m.storageCause()
	}
	if unit == units.GC && result == "exit-code" {
		if l := collect.ReadLast(filepath.Join(m.Root, paths.Collection)); !l.Early.IsZero() && l.Error == "" {
			return collect.Early
		}
	}
	if unit == units.Backup {
		return m.backupCause()
	}
	s := m.renewal()
	switch {
	case unit != units.Renew:
		return unit + " has failed" + map[bool]string{true: ": " + result}[result != "" && result != "success"]
	case s == nil:
		return "the renewal of the certificate cannot run"
	case s.Alert != "" && s.Error != "":
		return s.Alert + ": " + s.Error
	case s.Alert != "":
		return s.Alert
	case s.Mode != "acme" && s.Error != "": // waiting does not fix it
		return s.Error
	}
	return ""
}

// told is when the last alert for each cause was sent, if less than alertPause ago.
func (m *Machine) told() map[string]time.Time {
	told := map[string]time.Time{}
	data, err := os.ReadFile(filepath.Join(m.Root, paths.Alerts))
	if err != nil || json.Unmarshal(data, &told) != nil {
		return map[string]time.Time{} // one alert too many does no harm
	}
	for key, at := range told {
		if m.Now().Sub(at) >= alertPause {
			delete(told, key)
		}
	}
	return told
}

// keepTold records that a cause was told, beside what other alerts record.
func (m *Machine) keepTold(ctx context.Context, key string) error {
	lock := filepath.Join(m.Root, paths.Alerts+".lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		return fmt.Errorf("cannot lock %s: %w", lock, err)
	}
	unlock, err := files.Lock(ctx, lock) // held for one write
	if err != nil {
		return err
	}
	defer unlock()
	told := m.told()
	told[key] = m.Now()
	data, err := json.MarshalIndent(told, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", paths.Alerts, err)
	}
	return disk.Commit(m.Root, plan.Plan{Write: []tree.File{{Path: paths.Alerts, Mode: 0o600, Data: data}}})
}

// post sends the alert. Its errors never name the URL, which is a secret.
func post(ctx context.Context, hook string, proxy outbound.Proxy, a alert) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, alertPatience)
	defer cancel()
	client := &http.Client{
		Timeout:   alertTimeout,
		Transport: proxy.Through(http.DefaultTransport.(*http.Transport).Clone()),
		// The operator did not name the target of a redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var last error
	for try := range 3 {
		if try > 0 {
			select {
			case <-ctx.Done():
				return last
			case <-time.After(time.Duration(try) * time.Second):
			}
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, hook, bytes.NewReader(body))
		if err != nil {
			return errors.New("it is no URL")
		}
		r.Header.Set("Content-Type", "application/json")
		w, err := client.Do(r)
		if err != nil {
			if e, ok := errors.AsType[*url.Error](err); ok {
				err = e.Err
			}
			last = errors.New(strings.ReplaceAll(err.Error(), hook, "the URL"))
			continue
		}
		w.Body.Close()
		if w.StatusCode/100 == 2 {
			return nil
		}
		last = fmt.Errorf("it answers %s", w.Status)
		if w.StatusCode/100 != 5 {
			return last
		}
	}
	return last
}
