package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
)

// notificationsOption is the option of our access controller with the file of the endpoints
// that are told of pushes. Those of distribution's own notifications: are upstream's.
const notificationsOption = "notifications"

// lanePrefix is what the deliveries to endpoints are called by, with the endpoint's name.
const lanePrefix = "notifications."

// forgotten is how long what waits for an endpoint stays that is not in the configuration:
// a configuration that is taken back finds it again.
const forgotten = 7 * 24 * time.Hour

// readNotifications reads the endpoints.
func (g *generation) readNotifications() error {
	path, _ := g.config.Auth.Parameters()[notificationsOption].(string)
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err == nil {
		in := json.NewDecoder(bytes.NewReader(data))
		in.DisallowUnknownFields()
		err = in.Decode(&g.endpoints)
	}
	if err != nil {
		return fmt.Errorf("cannot use auth.%s: %w", notificationsOption, err)
	}
	return nil
}

// lanes are those to the endpoints of g: the ones that there are already, as far as they
// have not changed, and new ones. The others end; what waits in them stays on the disk.
func (d *deliveries) lanes(g *generation) []*webhook.Lane {
	wanted := map[string]bool{}
	var lanes []*webhook.Lane
	for _, e := range g.endpoints {
		name := lanePrefix + e.Name
		wanted[name] = true
		if l := d.lane(name, e); l != nil {
			lanes = append(lanes, l)
		}
	}
	for name, old := range d.to {
		if old.lane != nil && !wanted[name] {
			d.end(name)
		}
	}
	forget(g.endpoints)
	return lanes
}

func (d *deliveries) lane(name string, e webhook.Endpoint) *webhook.Lane {
	key := fmt.Sprintf("%+v", e)
	if old := d.to[name]; old != nil {
		if old.key == key {
			return old.lane
		}
		d.end(name)
	}
	l, err := webhook.Open(e)
	if err != nil {
		d.broken[name] = err
		return nil
	}
	one := &delivery{key: key, spool: l.Spool(), courier: l.Courier, lost: l.Lost, lane: l}
	one.start()
	d.to[name] = one
	return l
}

// end stops the delivery to an endpoint.
func (d *deliveries) end(name string) {
	d.to[name].stop()
	delete(d.to, name)
}

// forget removes what has waited for long for endpoints that are gone.
func forget(endpoints []webhook.Endpoint) {
	keep := map[string]bool{}
	for _, e := range endpoints {
		keep[e.Spool] = true
	}
	for _, e := range endpoints {
		others, err := os.ReadDir(filepath.Dir(e.Spool))
		if err != nil {
			continue // there are none
		}
		for _, other := range others {
			path := filepath.Join(filepath.Dir(e.Spool), other.Name())
			info, err := other.Info()
			if err == nil && info.IsDir() && !keep[path] && time.Since(info.ModTime()) > forgotten {
				_ = os.RemoveAll(path) // the next reload tries again
			}
		}
	}
}

// tell hands an event to the endpoints that are told of it.
func (s *server) tell(g *generation, r *http.Request, answer http.Header, e audit.Event) webhook.Kept {
	return s.desk.Put(e, func() webhook.Request { return requested(g, r, answer, e) })
}

// requested is what an event for endpoints says beside the one of the audit log.
func requested(g *generation, r *http.Request, answer http.Header, e audit.Event) webhook.Request {
	base := g.config.HTTP.Host
	if base == "" {
		base = map[bool]string{true: "https", false: "http"}[r.TLS != nil] + "://" + r.Host
	}
	out := webhook.Request{Base: strings.TrimRight(base, "/") + g.base, Host: r.Host, Source: source()}
	switch {
	case e.Action == audit.Delete:
	case e.Kind == "blob":
		out.MediaType = "application/octet-stream"
	case e.Action == audit.Push:
		out.MediaType, out.Size = r.Header.Get("Content-Type"), max(r.ContentLength, 0)
	default:
		out.MediaType = answer.Get("Content-Type")
		out.Size, _ = strconv.ParseInt(answer.Get("Content-Length"), 10, 64) // of a part, or of nothing: 0
	}
	return out
}

// source is what distribution calls the machine in its events.
func source() string {
	host, _ := os.Hostname() // empty is right for none
	return host
}
