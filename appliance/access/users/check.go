package users

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"
)

// maxRemembered bounds the remembered outcomes of each kind.
const maxRemembered = 8192

// compare is bcrypt's, counted by the tests.
type compareFunc func(hash, password []byte) error

// checks remembers the outcomes of password checks. The key of an outcome is a
// MAC over user, the hash in force and password, under a key of this process:
// nothing in memory can be turned into a password faster than the hash itself,
// and a changed or removed hash forgets its logins and no one else's.
type checks struct {
	key     []byte
	compare compareFunc

	mu           sync.Mutex
	good, failed map[[sha256.Size]byte]struct{}
}

func newChecks(key []byte) *checks {
	return &checks{
		key:     key,
		compare: bcrypt.CompareHashAndPassword,
		good:    map[[sha256.Size]byte]struct{}{},
		failed:  map[[sha256.Size]byte]struct{}{},
	}
}

func (c *checks) mac(parts ...[]byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, c.key)
	for _, p := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (c *checks) lookup(key [sha256.Size]byte) (known, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.good[key]; ok {
		return true, true
	}
	_, known = c.failed[key]
	return known, false
}

func (c *checks) remember(key [sha256.Size]byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.failed
	if ok {
		m = c.good
	}
	if len(m) >= maxRemembered {
		for k := range m { // any one will do
			delete(m, k)
			break
		}
	}
	m[key] = struct{}{}
}

// Check says whether password is the user's. It returns nil, ErrUnavailable,
// ctx's error, or another one for a refusal. A refusal costs the same bcrypt
// work whoever the user is and whether there is one: as much as the costliest
// hash of the table. An outcome that is known is not computed again.
func (t *Table) Check(ctx context.Context, name, password string) error {
	users, maxCost, _ := t.snapshot()
	if users == nil {
		return ErrUnavailable
	}
	u, exists := users[name]
	if !exists {
		u = user{hash: dummy(bcrypt.MinCost), cost: bcrypt.MinCost}
	}
	key := t.checks.mac([]byte(name), u.hash, []byte(password))
	known, ok := t.checks.lookup(key)
	if !known {
		select {
		case t.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		ok = t.checks.compute(u, maxCost, password) && exists
		<-t.slots
		t.checks.remember(key, ok)
	}
	if !ok {
		return errRefused
	}
	return nil
}

// errRefused does not say whether the user or the password is wrong.
var errRefused = fmt.Errorf("wrong user or password")

// compute compares the password, and makes a refusal as costly as one of
// maxCost: a hash of cost c is 2^c rounds, and c, c+1, … maxCost-1 on top of it
// make 2^maxCost.
func (c *checks) compute(u user, maxCost int, password string) bool {
	if c.compare(u.hash, []byte(password)) == nil {
		return true
	}
	for cost := u.cost; cost < maxCost; cost++ {
		_ = c.compare(dummy(cost), []byte(password))
	}
	return false
}

// dummy returns a well-formed hash that no password is known for.
func dummy(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("A", 53))
}
