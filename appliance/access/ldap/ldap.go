// Package ldap lets in who is in a directory: OpenLDAP, FreeIPA, Active Directory (RFC
// 4511). The directory checks the password, and says which groups the user is in.
package ldap

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	ber "github.com/go-asn1-ber/asn1-ber"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

// How a directory says who is in which group.
const (
	MemberOf        = "memberOf"        // the user's own attribute
	GroupOfNames    = "groupOfNames"    // the groups' attribute member, or uniqueMember
	ActiveDirectory = "activeDirectory" // its matching rule for groups in groups
)

const (
	working   = 8        // logins at a time that ask the directory
	maxKnown  = 4096     // logins that are remembered
	maxAnswer = 16 << 20 // bytes of one message
	maxGroups = 10_000   // groups that one question may bring
	maxName   = 255      // bytes of a user's and a group's name
)

// Settings are a directory and how users and groups lie in it.
type Settings struct {
	Servers                             []string // URLs; the first that answers
	StartTLS                            bool     // of servers that are ldap://
	CABundle                            []byte   // PEM; nil: the system's
	BindDN, Password                    string   // who may search; empty: anybody
	UserBase, UserAttribute, UserFilter string
	Groups, GroupBase                   string
	Timeout                             time.Duration // of one login at one server
	Cache                               time.Duration // how long an answer counts
}

// Directory checks logins. It is safe for concurrent use.
type Directory struct {
	Settings
	now   func() time.Time
	key   []byte
	stamp string // of tokens that are made after a login
	gate  *limit.Gate
	known *lru.Cache[[sha256.Size]byte, memory]
	down  []atomic.Int64 // when each server failed, Unix time in ns

	mu  sync.Mutex
	err error // of the last question; nil: it was answered
}

// memory is an answer, right or wrong: a client that repeats a stale password must not
// lock its user out of the directory.
type memory struct {
	users.Proven
	err    error
	forget time.Time
}

var boundMessages sync.Once

// New makes a directory. It connects to nothing yet.
func New(s Settings, now func() time.Time) (*Directory, error) {
	if len(s.Servers) == 0 || s.UserBase == "" || s.UserAttribute == "" || s.Timeout <= 0 || s.Cache <= 0 {
		return nil, errors.New("needs servers, a base and an attribute of users, a timeout and a time to remember")
	}
	known, err := lru.New[[sha256.Size]byte, memory](maxKnown)
	if err != nil {
		return nil, err
	}
	boundMessages.Do(func() { ber.MaxPacketLengthBytes = maxAnswer })
	key := make([]byte, 32)
	rand.Read(key) // never fails: crypto/rand ends the process instead
	place := s
	place.Password = "" // another one finds the same users
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", place))
	return &Directory{Settings: s, now: now, key: key, stamp: base64.RawURLEncoding.EncodeToString(sum[:16]), gate: limit.NewGate(limit.Default(working), now), known: known, down: make([]atomic.Int64, len(s.Servers))}, nil
}

// Takes implements users.Source: whoever is not in the table is looked for here, but for the
// user whose password is a token of an issuer.
func (d *Directory) Takes(name, _ string) bool { return name != "" && name != "oidc" }

// Unavailable says that no server of the directory answers.
type Unavailable struct{ Err error }

func (e *Unavailable) Error() string { return fmt.Sprintf("cannot ask the directory: %v", e.Err) }

func (e *Unavailable) Unwrap() []error { return []error{users.ErrAway, e.Err} }

// Login implements users.Source. An empty password is refused before the directory is
// asked, which would take it for a login without a name (RFC 4513, 5.1.2).
func (d *Directory) Login(ctx context.Context, remote, name, password string) (users.Proven, error) {
	nobody := users.Proven{By: identity.LDAP}
	if password == "" || problem(name) || strings.Contains(password, "\x00") {
		return nobody, users.ErrRefused
	}
	proven, err := d.remembered(d.mac(name, password), remote, name, &password)
	if err == nil && ctx.Err() != nil {
		return nobody, ctx.Err()
	}
	return proven, err
}

// Stands implements users.Source: a token that was made after a login counts as long as the
// directory has the user, who is in the groups of the moment.
func (d *Directory) Stands(_ context.Context, c *token.Claims) (users.Proven, bool) {
	if c.Proof != string(identity.LDAP) || c.Stamp != d.stamp {
		return users.Proven{}, false
	}
	proven, err := d.remembered(d.mac("", c.User), "", c.User, nil)
	proven.Until = c.Expires
	return proven, err == nil
}

// remembered is an answer that is known, or else what the directory says. Without a
// password it is whether there is such a user.
func (d *Directory) remembered(key [sha256.Size]byte, remote, name string, password *string) (users.Proven, error) {
	if m, ok := d.recall(key); ok {
		return m.Proven, m.err
	}
	proven := users.Proven{By: identity.LDAP, Stamp: d.stamp}
	var err error
	_, refused := d.gate.Do(limit.ClientOf(remote, name), func() bool {
		if m, ok := d.recall(key); ok { // by now
			proven, err = m.Proven, m.err
			return err == nil
		}
		asked := d.now()
		proven.Who, err = d.ask(name, password)
		if !errors.Is(err, users.ErrAway) {
			d.known.Add(key, memory{proven, err, asked.Add(d.Cache)})
		}
		return password == nil || !errors.Is(err, users.ErrRefused)
	})
	if refused != nil {
		err = refused
	}
	return proven, err
}

func (d *Directory) recall(key [sha256.Size]byte) (memory, bool) {
	m, ok := d.known.Get(key)
	return m, ok && d.now().Before(m.forget)
}

// mac is the name of a login in memory: nothing there can be turned into a password.
func (d *Directory) mac(name, password string) [sha256.Size]byte {
	h := hmac.New(sha256.New, d.key)
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(name)))
	h.Write(size[:])
	h.Write([]byte(name))
	h.Write([]byte(password))
	return [sha256.Size]byte(h.Sum(nil))
}

// problem says whether a name can be no user's or group's.
func problem(name string) bool {
	return name == "" || len(name) > maxName || name == acl.Everyone || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl)
}

// Down is why the directory could not be asked at the last try, or nil.
func (d *Directory) Down() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *Directory) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}
