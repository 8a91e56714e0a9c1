// Package status is what a machine says about itself: a value that is gathered
// elsewhere, judged here, and printed for people or as JSON.
package status

import (
	"fmt"
	"math"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
)

// Report is the state of one machine. A part that the machine does not have is
// left out.
type Report struct {
	Verdict       Verdict       `json:"verdict"`
	Problems      []string      `json:"problems,omitempty"`
	Address       string        `json:"address,omitempty"` // what clients use
	Units         []Unit        `json:"units"`
	Registry      Answer        `json:"registry"`
	Certificate   *Certificate  `json:"certificate,omitempty"`
	Storage       *Storage      `json:"storage,omitempty"`
	Cache         *Cache        `json:"cache,omitempty"`
	Backup        *Backup       `json:"backup,omitempty"`
	Configuration Configuration `json:"configuration"`
	Clients       []string      `json:"clientCertificates,omitempty"` // what needs attention of them
	Undelivered   string        `json:"undelivered,omitempty"`        // why others are not told: audit log, notifications
	Versions      Versions      `json:"versions"`
}

// Verdict is the report in a word.
type Verdict string

// The verdicts, from good to bad.
const (
	OK          Verdict = "ok"          // all is well
	Degraded    Verdict = "degraded"    // it serves, but something needs attention
	Maintenance Verdict = "maintenance" // it says what is wrong, and serves no images
	Down        Verdict = "down"        // it does not answer
)

// Unit is a unit of systemd.
type Unit struct {
	Name     string    `json:"name"`
	Active   string    `json:"active"`
	Sub      string    `json:"sub"`
	Since    time.Time `json:"since,omitzero"`
	Restarts uint32    `json:"restarts"`
	Wanted   bool      `json:"wanted"` // the configuration wants it to run
}

// Answer is what the registry said to a request for /v2/.
type Answer struct {
	Healthy bool          `json:"healthy"`
	Error   string        `json:"error,omitempty"`
	Latency time.Duration `json:"latencyNanoseconds"`
}

// Certificate is the server's.
type Certificate struct {
	Issuer      string    `json:"issuer,omitempty"`
	Names       []string  `json:"names,omitempty"`
	NotAfter    time.Time `json:"notAfter,omitzero"`
	DaysLeft    int       `json:"daysLeft"`
	Generation  string    `json:"generation,omitempty"`
	Authority   string    `json:"authority,omitempty"`   // path of the own CA's certificate
	Fingerprint string    `json:"fingerprint,omitempty"` // SHA-256 of that certificate
	Error       string    `json:"error,omitempty"`
	Stays       string    `json:"stays,omitempty"` // why it is not the one that is asked for

	// More are the authorities of further certificates, which clients need that call
	// the machine by other names.
	More    []Authority      `json:"more,omitempty"`
	Renewal *renewal.Summary `json:"renewal,omitempty"` // nil: nothing is known of it yet
	Overdue bool             `json:"overdue,omitempty"` // redoubt-renew.timer should have run since
}

// Authority is one of the own CAs, for clients that call the machine by Names.
type Authority struct {
	Names       []string `json:"names"`
	File        string   `json:"authority,omitempty"` // path of its certificate
	Fingerprint string   `json:"fingerprint"`         // SHA-256 of that certificate
}

// Storage is where images lie.
type Storage struct {
	Type       string `json:"type"`
	Bucket     string `json:"bucket,omitempty"` // of which only Health is known
	Root       string `json:"root,omitempty"`
	*Directory        // nil: a bucket, or a directory that cannot be read
	Error      string `json:"error,omitempty"`

	Health *Health `json:"health,omitempty"` // nil: before the first check

	Collection *Collection `json:"gc,omitempty"` // nil: none has run since the boot

	// Quotas is what the repositories of each quota take, and QuotasUnknown why it cannot be
	// told.
	Quotas        []quota.Usage `json:"quotas,omitempty"`
	QuotasUnknown string        `json:"quotasUnknown,omitempty"`

	// Others is that more machines use the storage than are meant to, and OthersUnknown why
	// it cannot be told.
	Others        string `json:"otherMachines,omitempty"`
	OthersUnknown string `json:"otherMachinesUnknown,omitempty"`
}

// Backup is how the backups of this machine go.
type Backup struct {
	Place     string        `json:"place"`
	Taken     time.Time     `json:"taken,omitzero"` // the newest whole snapshot; zero: none yet
	Age       time.Duration `json:"ageNanoseconds"` // of that
	Most      time.Duration `json:"-"`              // that it should be
	Verified  time.Time     `json:"verified,omitzero"`
	Snapshots int           `json:"snapshots"`
	Bytes     int64         `json:"bytes"` // of the images of the newest one
	Error     string        `json:"error,omitempty"`
	Failures  int           `json:"failures"` // in a row
}

// problem is why there is no good backup.
func (b *Backup) problem() string {
	switch {
	case b == nil:
		return ""
	case b.Failures > 0:
		return "the backup has failed: " + b.Error
	case !b.Taken.IsZero() && b.Age > b.Most:
		return fmt.Sprintf("the newest backup is of %s, which is too old: see systemctl list-timers redoubt-backup.timer", moment(b.Taken))
	}
	return ""
}

// Collection is what redoubt gc did last on this machine.
type Collection struct {
	Began time.Time `json:"began"`
	Freed int64     `json:"freedBytes"`
	Trash int64     `json:"trashBytes"`
	// What was last purged from the trash before its time, since the disk was full.
	Early   int64     `json:"earlyBytes,omitempty"`
	EarlyAt time.Time `json:"earlyAt,omitzero"`

	Error    string `json:"error,omitempty"`
	Failures int    `json:"failures"` // in a row
}

// problem is why space is not freed.
func (c *Collection) problem() string {
	switch {
	case c == nil || c.Failures == 0:
		return ""
	case c.Failures == 1:
		return "redoubt gc has failed: " + c.Error
	}
	return fmt.Sprintf("redoubt gc has failed %d times: %s", c.Failures, c.Error)
}

// Directory is the file system below Root, in bytes, and whether the registry can write
// there.
type Directory struct {
	Used     uint64 `json:"usedBytes"`
	Free     uint64 `json:"freeBytes"`
	Writable bool   `json:"writable"`
}

// Health is what redoubt health has found of the storage.
type Health struct {
	Grade    health.Grade `json:"grade"`
	Since    time.Time    `json:"since"`
	Checked  time.Time    `json:"checked"`
	Stale    bool         `json:"stale"` // the last check is old: the registry serves as if all were well
	Error    string       `json:"error,omitempty"`
	Key      string       `json:"key,omitempty"` // of the configuration, to fix it
	Failures int          `json:"failures"`      // checks in a row that failed
	Slowest  string       `json:"slowest,omitempty"`
	Seconds  float64      `json:"slowestSeconds"`
}

// Cache is the blob-descriptor cache.
type Cache struct {
	Type      string `json:"type"`
	Address   string `json:"address,omitempty"` // of a Redis elsewhere
	Reachable bool   `json:"reachable"`
	Keys      int64  `json:"keys"`
	Memory    int64  `json:"memoryBytes"`
	Error     string `json:"error,omitempty"`
}

// Configuration is where the configuration came from.
type Configuration struct {
	Sources    []string  `json:"sources,omitempty"`
	Generation int       `json:"generation"`
	Applied    time.Time `json:"applied,omitzero"`  // when an apply last changed something
	Errors     []string  `json:"errors,omitempty"`  // of the notice that is shown instead of images
	Pending    string    `json:"pending,omitempty"` // what the documents ask for and is not in force
}

// Versions are those of the parts.
type Versions struct {
	Redoubt      string `json:"redoubt"`
	Distribution string `json:"distribution,omitempty"`
	Redis        string `json:"redis,omitempty"`
	Image        string `json:"image,omitempty"`
}

// Bounds beyond which a machine needs attention.
const (
	minDaysLeft = 14
	minFree     = 5 // percent of the storage
)

// Judge sets the verdict and the problems by what else is in the report.
func (r *Report) Judge() {
	r.Problems = nil
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if !r.Registry.Healthy {
		problem("%s", r.Registry.Error)
	}
	for _, e := range r.Configuration.Errors {
		problem("%s", e)
	}
	for _, u := range r.Units {
		if u.Wanted && u.Active != "active" && u.Active != "reloading" {
			problem("%s is %s; the reason is in: journalctl -u %s", u.Name, u.Active, u.Name)
		}
	}
	if c := r.Certificate; c != nil && c.Error != "" {
		problem("%s", c.Error)
	} else if c != nil {
		for _, p := range c.problems() {
			problem("%s", p)
		}
	}
	if text := r.Backup.problem(); text != "" {
		problem("%s", text)
	}
	if s := r.Storage; s != nil {
		if text := s.Health.problem(); text != "" {
			problem("%s", text)
		}
		if text := s.Collection.problem(); text != "" {
			problem("%s", text)
		}
		if s.Others != "" {
			problem("%s", s.Others)
		}
		for _, p := range s.problems() {
			problem("%s", p)
		}
	}
	if r.Undelivered != "" {
		problem("%s", r.Undelivered)
	}
	for _, p := range r.Clients {
		problem("%s", p)
	}
	if p := r.Configuration.Pending; p != "" {
		problem("%s", p)
	}
	if c := r.Cache; c != nil && !c.Reachable {
		problem("the cache does not answer: %s", c.Error)
	}
	switch {
	case len(r.Configuration.Errors) > 0:
		r.Verdict = Maintenance
	case !r.Registry.Healthy:
		r.Verdict = Down
	case len(r.Problems) > 0:
		r.Verdict = Degraded
	default:
		r.Verdict = OK
	}
}

// problems are those of a directory.
func (s *Storage) problems() []string {
	switch d := s.Directory; {
	case s.Error != "":
		return []string{s.Error}
	case d == nil:
	case !d.Writable:
		return []string{"the registry cannot write to " + s.Root}
	case d.Free*100 < (d.Used+d.Free)*minFree:
		return []string{fmt.Sprintf("%s is almost full: %s left", s.Root, size(d.Free))}
	}
	return nil
}

// problem is what is wrong with the storage by the last checks.
func (h *Health) problem() string {
	switch {
	case h == nil:
		return ""
	case h.Stale:
		return "the storage was last checked at " + moment(h.Checked) + "; the reason is in: journalctl -u redoubt-health"
	case h.Grade == health.OK && h.Failures == 0:
		return ""
	case h.Grade == health.OK:
		return fmt.Sprintf("the storage serves, but %s: %s", h.failed(), h.Error)
	case h.Key != "":
		return fmt.Sprintf("the storage is %s: %s: %s", h.Grade, h.Key, h.Error)
	}
	return fmt.Sprintf("the storage is %s: %s", h.Grade, h.Error)
}

// failed says how many checks have failed.
func (h *Health) failed() string {
	if h.Failures == 1 {
		return "its last check failed"
	}
	return fmt.Sprintf("its last %d checks failed", h.Failures)
}

// problems are those of a certificate that can be read. One that the machine renews may
// have few days left: those of a short profile always have.
func (c *Certificate) problems() []string {
	var all []string
	if c.Stays != "" {
		all = append(all, c.Stays)
	}
	if s := c.Renewal; s != nil {
		if s.Alert != "" {
			all = append(all, s.Alert)
		}
		if s.Error != "" && s.Error != c.Stays {
			all = append(all, "the certificate's renewal: "+s.Error)
		}
		if c.Overdue {
			all = append(all, "the certificate's renewal last ran at "+moment(s.Looked)+"; the reason is in: journalctl -u redoubt-renew")
		}
		return all
	}
	if c.DaysLeft < minDaysLeft {
		all = append(all, fmt.Sprintf("the certificate ends in %d days", c.DaysLeft))
	}
	return all
}

// Err is nil for OK, else the verdict as an error.
func (r *Report) Err() error {
	switch r.Verdict {
	case OK:
		return nil
	case Maintenance:
		return fmt.Errorf("the machine is in maintenance")
	default:
		return fmt.Errorf("the machine is %s", r.Verdict)
	}
}

// size is a number of bytes for people.
func size(n uint64) string { return progress.Size(int64(min(n, math.MaxInt64))) }
