package storagecheck

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// Report is a check by hand, with the grade by the checks of the timer.
type Report struct {
	Grade      health.Grade       `json:"grade"` // by this check alone
	Storage    string             `json:"storage"`
	Operations []health.Operation `json:"operations"`
	Judged     *health.State      `json:"judged,omitempty"` // nil: the last check of the timer is old
}

// Look tries everything once, and stores nothing. adopt first accepts the mounted file
// system as the machine's.
func (w Watch) Look(ctx context.Context, adopt bool) (*Report, error) {
	settings, err := w.Settings()
	if err != nil {
		return nil, err
	}
	if settings.Place == nil {
		return nil, errors.New("there is no storage to look at: the machine is not configured, or health.storagedriver is turned off in its overlay")
	}
	if directory, ok := settings.Place.(Directory); ok {
		if err := become(w.User); err != nil {
			return nil, err
		}
		if adopt {
			if err := directory.Adopt(); err != nil {
				return nil, fmt.Errorf("cannot take the file system of %s for the machine's: %w", directory.Root, err)
			}
		}
	} else if adopt {
		return nil, errors.New("cannot use --adopt: it is for a storage that is a directory")
	}
	look := probe(ctx, settings.Place, health.Look{}, true, max(w.Pace, 1))
	r := &Report{Storage: look.Storage, Operations: look.Operations}
	r.Grade, _ = look.Grade()
	if s, err := health.ReadState(w.State); err == nil && s.Storage == look.Storage && !s.Stale(time.Now()) {
		r.Judged = &s
	}
	return r, nil
}

// become changes root to the user of that name, for good. Without that user on the
// machine, or without root, it does nothing.
func become(name string) error {
	u, err := user.Lookup(name)
	if name == "" || err != nil || syscall.Geteuid() != 0 {
		return nil // then the check is done as this user
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("cannot become %s: %w", name, err)
	}
	return nil
}

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", r.Grade, r.Storage)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, o := range r.Operations {
		word := "ok"
		if o.Error != "" {
			word = o.Error
			if o.Key != "" {
				word = o.Key + ": " + word
			}
		}
		fmt.Fprintf(w, "  %s\t%v\t%s\n", o.Name, Took(o), word)
	}
	w.Flush()
	b.WriteString("\n" + r.judged() + "\n")
	return b.String()
}

func (r *Report) judged() string {
	s := r.Judged
	if s == nil {
		return "The registry serves as if all were well: the last check is old (systemctl status redoubt-health.timer)."
	}
	text := fmt.Sprintf("The grade in force is %s, since %s", s.Grade, s.Since.UTC().Format("2006-01-02 15:04:05 MST"))
	switch {
	case s.Failures == 1:
		text += "; the last check failed"
	case s.Failures > 1:
		text += fmt.Sprintf("; the last %d checks failed", s.Failures)
	}
	return text + "."
}

// Took is how long an operation took, as people read it.
func Took(o health.Operation) time.Duration {
	d := time.Duration(o.Seconds * float64(time.Second))
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

// Err is nil for the grade ok.
func (r *Report) Err() error {
	if r.Grade == health.OK {
		return nil
	}
	return fmt.Errorf("the storage is %s", r.Grade)
}
