package registry

import (
	"net/http"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
)

const (
	// gradePause is between two readings of the file, however many ask.
	gradePause = time.Second
	// A refused client may come again when the storage can have got better.
	retryWrite = 30
	retryRead  = 15
)

// storageGrade is what redoubt health says of the storage.
type storageGrade struct {
	path string // empty: nobody looks

	mu    sync.Mutex
	read  time.Time
	state health.State
	known bool
}

// now is the newest state. It is not known while the last check is old; then what
// comes is served as if all were well, for a look that does not happen must not take a
// registry away.
func (g *storageGrade) now() (state health.State, known bool) {
	if g.path == "" {
		return health.State{}, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if age := now.Sub(g.read); g.read.IsZero() || age >= gradePause || age < 0 {
		var err error
		g.read = now
		g.state, err = health.ReadState(g.path)
		g.known = err == nil
	}
	return g.state, g.known && !g.state.Stale(now)
}

// storageDisk is the file system of a directory. redoubt health finds out too that it is
// not mounted, but only after a while, in which a push would go to the wrong place.
type storageDisk struct {
	directory storagecheck.Directory

	mu    sync.Mutex
	read  time.Time
	wrong bool
}

func newDisk(root, record string) *storageDisk {
	if root == "" || record == "" {
		return nil
	}
	return &storageDisk{directory: storagecheck.Directory{Root: root, Record: record}}
}

// other says whether this is for certain not the file system that images lie on.
func (d *storageDisk) other() bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if age := time.Since(d.read); age >= gradePause || age < 0 {
		d.wrong, d.read = d.directory.Other(), time.Now()
	}
	return d.wrong
}

// refuse answers a request that the storage is not good enough for, and says whether it
// did. A request in flight is not cut. What takes something away is let through to a
// storage that takes no writes: it may be full, and that makes room.
func (g *storageGrade) refuse(w http.ResponseWriter, r *http.Request) bool {
	state, known := g.now()
	if !known {
		return false
	}
	goesOn := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions || r.Method == http.MethodDelete
	switch {
	case state.Grade == health.Down:
		page.Later(w, r, retryRead, because("the registry's storage is not available", state.Reason))
	case state.Grade == health.Degraded && !goesOn:
		page.Later(w, r, retryWrite, because("the registry's storage takes no pushes for now, pulls go on", state.Reason))
	default:
		return false
	}
	return true
}

// note adds a storage from which nothing is served to failed. While pulls go on the
// machine is of use.
func (g *storageGrade) note(failed map[string]string) {
	if state, known := g.now(); known && state.Grade == health.Down {
		failed["storage"] = because("down", state.Reason)
	}
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

// gradeSamples are what redoubt health last found.
func (s *server) gradeSamples() []metrics.Vector {
	return []metrics.Vector{
		{Name: "redoubt_storage_grade", Help: "1 for the grade in force; unknown while the storage was not checked lately.", Label: "grade", Values: func() map[string]float64 {
			values := map[string]float64{"unknown": 0}
			for _, g := range health.Grades() {
				values[string(g)] = 0
			}
			grade := "unknown"
			if state, known := s.grade.now(); known {
				grade = string(state.Grade)
			}
			values[grade] = 1
			return values
		}},
		{Name: "redoubt_storage_operation_seconds", Help: "How long an access to the storage took when it was last tried.", Label: "operation", Values: s.operations(func(o health.Operation) float64 { return o.Seconds })},
		{Name: "redoubt_storage_operation_failed", Help: "1 while an access to the storage fails.", Label: "operation", Values: s.operations(func(o health.Operation) float64 { return number(o.Error != "") })},
	}
}

func (s *server) operations(of func(health.Operation) float64) func() map[string]float64 {
	return func() map[string]float64 {
		values := map[string]float64{}
		state, _ := s.grade.now()
		for _, o := range state.Operations {
			values[o.Name] = of(o)
		}
		return values
	}
}

// gradeChecked is when somebody last looked, Unix time; zero for never.
func (s *server) gradeChecked() float64 {
	state, _ := s.grade.now()
	return unix(state.Checked)
}
