package users

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
)

// maxRemembered bounds the remembered outcomes of each kind.
const maxRemembered = 8192

// compareFunc is bcrypt's, counted by the tests.
type compareFunc func(hash, password []byte) error

// outcome is the key of a password check: a MAC over user, the hash in force and
// password, under a key of this process. Nothing in memory can be turned into a
// password faster than the hash itself, and a changed or removed hash forgets its
// logins and no one else's.
type outcome [sha256.Size]byte

// checks remembers the outcomes of password checks, the latest ones. Wrong ones
// do not push out right ones.
type checks struct {
	key          []byte
	compare      compareFunc
	good, failed *lru.Cache[outcome, struct{}]
}

func newChecks(key []byte) *checks {
	return &checks{key: key, compare: bcrypt.CompareHashAndPassword, good: remembered(), failed: remembered()}
}

func remembered() *lru.Cache[outcome, struct{}] {
	c, err := lru.New[outcome, struct{}](maxRemembered)
	if err != nil {
		panic(err) // of a size below 1
	}
	return c
}

func (c *checks) outcome(parts ...[]byte) outcome {
	h := hmac.New(sha256.New, c.key)
	for _, p := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	return outcome(h.Sum(nil))
}

func (c *checks) lookup(key outcome) (known, ok bool) {
	if _, ok := c.good.Get(key); ok {
		return true, true
	}
	_, known = c.failed.Get(key)
	return known, false
}

func (c *checks) remember(key outcome, ok bool) {
	if ok {
		c.good.Add(key, struct{}{})
		return
	}
	c.failed.Add(key, struct{}{})
}

// ErrRefused does not say whether the user or the password is wrong.
var ErrRefused = errors.New("wrong user or password")

// Check says whether password is the user's, for a client at remote, an address
// and a port. It returns nil, ErrUnavailable, ctx's error, a *limit.Refused for a
// client who may not try now, or another error for a wrong password. Wrong ones
// cost the same bcrypt work whoever the user is and whether there is one: as much
// as the costliest hash of the table. An outcome that is known costs nothing, and
// waits for nobody: neither a right password nor one that a client repeats.
func (t *Table) Check(ctx context.Context, remote, name, password string) error {
	_, err := t.check(ctx, remote, name, password)
	return err
}

// check is Check, and gives the user whose hash was compared.
func (t *Table) check(ctx context.Context, remote, name, password string) (user, error) {
	users, maxCost, _ := t.snapshot()
	if users == nil {
		return user{}, ErrUnavailable
	}
	// bcrypt takes a NUL for the end of a password, which it then repeats. Of a long
	// password it reads 72 bytes, as htpasswd does that makes the hashes: those are
	// let in by the first 72.
	if strings.Contains(password, "\x00") {
		return user{}, ErrRefused
	}
	u, exists := users[name]
	if !exists {
		u = user{hash: dummy(bcrypt.MinCost), cost: bcrypt.MinCost}
	}
	key := t.checks.outcome([]byte(name), u.hash, []byte(password))
	known, ok := t.checks.lookup(key)
	if !known {
		var err error
		client := limit.ClientOf(remote, name)
		ok, err = t.once(ctx, key, client, func() bool {
			return t.checks.compute(u, maxCost, password) && exists
		})
		if err != nil {
			return user{}, err
		}
	}
	if !ok {
		return user{}, ErrRefused
	}
	return u, nil
}

// once computes an outcome when it is the client's turn. Who waits for the same
// one at the same address shares the turn, and one who leaves does not end it.
func (t *Table) once(ctx context.Context, key outcome, client limit.Client, compute func() bool) (bool, error) {
	results := t.turns.DoChan(string(key[:])+client.Address.String(), func() (any, error) {
		return t.gate.Do(client, func() bool {
			known, ok := t.checks.lookup(key) // by now, from another address
			if !known {
				ok = compute()
				t.checks.remember(key, ok)
			}
			return ok
		})
	})
	select {
	case r := <-results:
		ok, _ := r.Val.(bool)
		return ok, r.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

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
