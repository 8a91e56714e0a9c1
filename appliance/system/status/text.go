package status

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/printable"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// String is the report for people: the verdict, what is wrong, then the parts.
func (r *Report) String() string {
	var b strings.Builder
	b.WriteString(string(r.Verdict) + ": " + headline(r) + "\n")
	for _, p := range r.Problems {
		b.WriteString("  - " + strings.ReplaceAll(p, "\n", "\n    ") + "\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	section := func(name string) { fmt.Fprintf(w, "\n%s\n", name) }
	row := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(w, "  %s\t%s\n", name, text)
		}
	}
	section("units")
	r.writeUnits(w)
	w.Flush()
	if c := r.Certificate; c != nil && c.Error == "" {
		section("certificate")
		row("names", "%s", strings.Join(c.Names, ", "))
		row("issuer", "%s", c.Issuer)
		row("ends", "%s, %d days left", moment(c.NotAfter), c.DaysLeft)
		row("generation", "%s", c.Generation)
		if s := c.Renewal; s != nil {
			row("source", "%s", source(s))
			if s.Mode == "acme" {
				row("last try", "%s", moment(s.Tried))
			}
			row("last error", "%s", s.Error)
			row("renews", "%s", renews(s))
			row("next try", "%s", next(s))
		}
		row("CA file", "%s", c.Authority)
		row("CA SHA-256", "%s", c.Fingerprint)
		for _, more := range c.More {
			row("also", "%s", strings.Join(more.Names, ", "))
			row("CA file", "%s", more.File)
			row("CA SHA-256", "%s", more.Fingerprint)
		}
		w.Flush()
	}
	if s := r.Storage; s != nil {
		section("storage")
		row("type", "%s", s.Type)
		row("bucket", "%s", s.Bucket)
		if s.Bucket == "" {
			row("root", "%s", s.Root)
		}
		if d := s.Directory; d != nil {
			row("used", "%s, %s free", size(d.Used), size(d.Free))
			row("writable", "%s", yes(d.Writable))
		}
		if s.OthersUnknown != "" {
			row("others", "whether other machines use it cannot be told: %s", s.OthersUnknown)
		}
		row("health", "%s", s.Health)
		if h := s.Health; h != nil {
			row("last check", "%s", moment(h.Checked))
			row("slowest", "%s", h.slowest())
		}
		if g := s.Collection; g != nil {
			row("last gc", "%s, freed %s", moment(g.Began), size(uint64(max(g.Freed, 0))))
			row("trash", "%s", size(uint64(max(g.Trash, 0))))
			if g.Early > 0 {
				row("purged", "%s early, since the disk was full: %s", size(uint64(g.Early)), moment(g.EarlyAt))
			}
		}
		for _, u := range s.Quotas {
			row("quota", "%s: %s", u.Name(), u)
		}
		if s.QuotasUnknown != "" {
			row("quota", "how much is used cannot be told: %s", s.QuotasUnknown)
		}
		w.Flush()
	}
	if b := r.Backup; b != nil {
		section("backup")
		row("place", "%s", b.Place)
		if b.Taken.IsZero() {
			row("newest", "none yet")
		} else {
			row("newest", "%s, %s of images", moment(b.Taken), size(uint64(max(b.Bytes, 0))))
			row("snapshots", "%d", b.Snapshots)
		}
		if !b.Verified.IsZero() {
			row("verified", "%s", moment(b.Verified))
		}
		w.Flush()
	}
	if c := r.Cache; c != nil {
		section("cache")
		row("type", "%s", c.Type)
		if c.Address != "" {
			row("address", "%s", c.Address)
		}
		if c.Type == "redis" && c.Reachable {
			row("keys", "%d", c.Keys)
			row("memory", "%s", size(uint64(max(c.Memory, 0))))
		}
		w.Flush()
	}
	section("configuration")
	row("sources", "%s", strings.Join(r.Configuration.Sources, ", "))
	row("generation", "%d", r.Configuration.Generation)
	row("applied", "%s", moment(r.Configuration.Applied))
	w.Flush()
	section("versions")
	row("redoubt", "%s", r.Versions.Redoubt)
	row("distribution", "%s", r.Versions.Distribution)
	row("redis", "%s", r.Versions.Redis)
	row("image", "%s", r.Versions.Image)
	w.Flush()
	return printable.Text(padding.ReplaceAllString(b.String(), ""))
}

// String is the grade for people.
func (h *Health) String() string {
	switch {
	case h == nil:
		return "not checked yet"
	case h.Stale:
		return "unknown"
	case h.Grade == health.OK && h.Failures > 0:
		return fmt.Sprintf("%s since %s, but %s", h.Grade, moment(h.Since), h.failed())
	}
	return fmt.Sprintf("%s since %s", h.Grade, moment(h.Since))
}

func (h *Health) slowest() string {
	if h.Slowest == "" {
		return ""
	}
	return fmt.Sprintf("%s, %v", h.Slowest, time.Duration(h.Seconds*float64(time.Second)).Round(100*time.Microsecond))
}

func (r *Report) writeUnits(w io.Writer) {
	for _, u := range r.Units {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", u.Name, u.Active+" ("+u.Sub+")", since(u.Since), restarts(u.Restarts))
	}
}

// padding is what a column leaves at the end of a line.
var padding = regexp.MustCompile(`(?m) +$`)

func headline(r *Report) string {
	address := cmp.Or(r.Address, "the registry")
	switch r.Verdict {
	case OK:
		return fmt.Sprintf("%s serves, and answered in %v", address, r.Registry.Latency.Round(100*time.Microsecond))
	case Degraded:
		return address + " serves, but something needs attention"
	case Maintenance:
		return "no images are served, since the configuration cannot be used"
	default:
		return address + " does not serve"
	}
}

func source(s *renewal.Summary) string {
	if s.Fallback {
		return s.Mode + ", and the machine's own CA until it has one from there"
	}
	return s.Mode
}

// renews is when the certificate is renewed, and when the CA may say otherwise.
func renews(s *renewal.Summary) string {
	switch {
	case s.Mode == "files":
		return "not by this machine: put the next pair where tls.files names it"
	case s.Renews.IsZero():
		return ""
	}
	text := moment(s.Renews) + " (" + s.Reason + ")"
	if s.Mode == "acme" && !s.Asks.IsZero() && s.Asks.Before(s.Renews) {
		text += "; asks again " + moment(s.Asks)
	}
	return text
}

// next is when a certificate is tried for that is not there, or could not be obtained.
func next(s *renewal.Summary) string {
	if s.Next.IsZero() || s.Failures == 0 && !s.Renews.IsZero() {
		return ""
	}
	return moment(s.Next) + " (" + s.Why + ")"
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 MST")
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "since " + moment(t)
}

func restarts(n uint32) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "1 restart"
	default:
		return fmt.Sprintf("%d restarts", n)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
