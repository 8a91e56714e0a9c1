// Package users decides who may use the registry: a table of bcrypt password
// hashes in an htpasswd file, read again when the file changes, and the access
// controller that distribution asks.
package users

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// maxCost is the costliest hash that is accepted: above it one login takes
// more than ten seconds.
const maxCost = 17

// settle is how old a file must be before its time stamp is trusted: a second
// edit within the same tick of the filesystem's clock would not show.
const settle = 2 * time.Second

// ErrUnavailable says that there is no table to check a login against.
var ErrUnavailable = errors.New("the table of users cannot be read")

// Table is the users of one htpasswd file. It is safe for concurrent use.
type Table struct {
	*file
	want string // the Digest of the only content that counts; empty: the newest
}

// kept is how many contents of the file are remembered: an apply that fails writes another.
const kept = 4

// Of is the table by one content of the file alone, one of the latest: users count together
// with the rules that were written with them. What is known of passwords stays known.
func (t *Table) Of(digest string) *Table { return &Table{t.file, digest} }

// Digest names a content of the file.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// content is what is in the file at one time.
type content struct {
	users   map[string]user
	maxCost int // of users
	digest  string
}

// file is what all tables of a file share.
type file struct {
	path string
	log  func(error) // told once of each bad edit

	mu     sync.Mutex
	seen   files.Stamp
	latest []content // the newest first; none: no table
	err    error     // why the newest file is not in force

	checks *checks
	gate   *limit.Gate        // in front of the bcrypt computations
	turns  singleflight.Group // of those that wait at the gate
	counts counts
}

// counts are logins by what came of them.
type counts struct{ refused, limited atomic.Uint64 }

// Stats are the logins of a table since the start.
type Stats struct {
	Refused uint64 // wrong user or password
	Limited uint64 // not checked: too many failures, or too many at once
	Waiting int    // passwords that wait for their check
}

// Stats returns the numbers of logins.
func (t *Table) Stats() Stats {
	return Stats{Refused: t.counts.refused.Load(), Limited: t.counts.limited.Load(), Waiting: t.gate.Waiting()}
}

type user struct {
	hash  []byte
	cost  int
	stamp string // see stampOf
}

// NewTable reads the users of path. A file that cannot be read is not an
// error here: logins are refused with ErrUnavailable until it can. The log
// function is called once for each version of the file that is refused.
func NewTable(path string, log func(error)) *Table {
	key := make([]byte, 32)
	rand.Read(key) // never fails: crypto/rand ends the process instead
	t := &Table{file: &file{
		path:   path,
		log:    log,
		checks: newChecks(key),
		gate:   limit.NewGate(limit.Default(runtime.GOMAXPROCS(0)), time.Now),
	}}
	t.Err()
	return t
}

// Err reads the file again if it has changed and returns why its newest
// version is not in force, or nil. Where only that version is bad the users of
// the one before still stand.
func (t *Table) Err() error {
	_, _, err := t.snapshot()
	return err
}

// Ready says whether there is a table in force.
func (t *Table) Ready() bool {
	users, _, _ := t.snapshot()
	return users != nil
}

// snapshot returns the users in force and the cost of their costliest hash.
func (t *Table) snapshot() (map[string]user, int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look()
	for _, c := range t.latest {
		if t.want == "" || t.want == c.digest {
			return c.users, c.maxCost, t.err
		}
	}
	return nil, 0, t.err
}

// look reads the file again if it has changed.
func (t *file) look() {
	at, err := files.StampOf(t.path)
	if err != nil {
		t.refuse(files.Stamp{}, fmt.Errorf("cannot read the users: %w", err))
		if errors.Is(err, fs.ErrNotExist) {
			t.latest = nil // a file that was taken away takes its users with it
		}
		return
	}
	if at == t.seen {
		return
	}
	found, err := t.read()
	if err != nil {
		t.refuse(at, err)
		return
	}
	others := slices.DeleteFunc(t.latest, func(c content) bool { return c.digest == found.digest })
	t.latest = append([]content{found}, others[:min(len(others), kept-1)]...)
	t.err, t.seen = nil, at
	if time.Since(at.Modified) < settle {
		t.seen = files.Stamp{}
	}
}

func (t *file) refuse(at files.Stamp, err error) {
	if t.err == nil || t.err.Error() != err.Error() {
		t.log(err)
	}
	t.err, t.seen = err, at
}

func (t *file) read() (content, error) {
	data, err := os.ReadFile(t.path)
	if err != nil {
		return content{}, fmt.Errorf("cannot read the users: %w", err)
	}
	users, err := parse(data)
	if err != nil {
		return content{}, fmt.Errorf("cannot use %s: %w", t.path, err)
	}
	cost := bcrypt.DefaultCost
	if len(users) > 0 {
		cost = bcrypt.MinCost
	}
	for _, u := range users {
		cost = max(cost, u.cost)
	}
	return content{users, cost, Digest(data)}, nil
}

// parse reads lines of the form name:hash. Empty lines and those that begin
// with # are left out. Its errors name the line and never what is in it.
func parse(data []byte) (map[string]user, error) {
	users := map[string]user{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return nil, fmt.Errorf("line %d is not name:hash", n)
		}
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != 60 {
			return nil, fmt.Errorf("line %d has no bcrypt hash", n)
		}
		if cost > maxCost {
			return nil, fmt.Errorf("line %d has a hash of cost %d, more than %d", n, cost, maxCost)
		}
		if _, twice := users[name]; twice {
			return nil, fmt.Errorf("line %d names a user a second time", n)
		}
		users[name] = user{hash: []byte(hash), cost: cost, stamp: stampOf([]byte(hash))}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read its lines: %w", err)
	}
	return users, nil
}
