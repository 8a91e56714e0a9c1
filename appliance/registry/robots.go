package registry

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v2"
	"golang.org/x/sync/singleflight"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// robotsOption is the option of our access controller with the robots of the
// configuration. Distribution's own words have none for it.
const robotsOption = "robots"

// How old the list of robots may be: a token that is revoked on any machine ends within
// robotsStale.
const (
	robotsFresh  = 2 * time.Second // from then on it is read again, behind a request
	robotsStale  = 5 * time.Second // from then on a request waits for that
	robotsUnread = time.Minute     // so long it counts while it cannot be read
	robotsTime   = 5 * time.Second // for one look
	robotsWork   = 8               // wrong tokens that are looked at side by side
	robotsPause  = 1 * time.Second // between two looks for a token that is not in the list
)

// robots prove the logins of robots: of those of the configuration, and of the list that
// redoubt token keeps. It is safe for concurrent use.
type robots struct {
	fixed map[string][]known
	store sharedstate.Store // nil: no list
	now   func() time.Time
	warn  func(error)
	used  func(name string) // told of each login
	gate  *limit.Gate

	turns singleflight.Group
	list  atomic.Pointer[robotList]
}

// robotList is the list as it was at one time.
type robotList struct {
	byName map[string][]known
	read   time.Time // when it was; zero: never
	tried  time.Time // the last look, which may have failed
}

// known is a robot with what is made of it once.
type known struct {
	robot.Robot
	stamp  string
	within *acl.Policy
}

// endedError says that a token was right, and is not any more.
type endedError struct{}

func (endedError) Error() string { return "the robot's token has expired: make another one" }

func (endedError) Unwrap() error { return users.ErrRefused }

func knownOf(list []robot.Robot) (map[string][]known, error) {
	byName := map[string][]known{}
	for _, r := range list {
		within, err := r.Within()
		if err != nil {
			return nil, err
		}
		byName[r.Name] = append(byName[r.Name], known{r, r.Stamp(), within})
	}
	return byName, nil
}

// takeRobots reads which robots the configuration has, and where the others are listed.
func (g *generation) takeRobots(s *server) error {
	var items []struct {
		Name, Hash, Expires  string
		Groups, Repositories []string
		Actions              []acl.Action
	}
	data, err := yaml.Marshal(g.config.Auth.Parameters()[robotsOption])
	if err == nil {
		err = yaml.UnmarshalStrict(data, &items)
	}
	if err != nil {
		return errors.New("cannot use auth.robots: it cannot be read")
	}
	var list []robot.Robot
	for _, i := range items {
		if robot.NameProblem(i.Name) != "" || robot.HashProblem(i.Hash) != "" {
			return errors.New("cannot use auth.robots: each needs a name and a hash")
		}
		r := robot.Robot{Name: i.Name, Hash: i.Hash, Groups: i.Groups, Repositories: i.Repositories, Actions: i.Actions}
		if i.Expires != "" {
			if r.Expires, err = robot.ParseExpires(i.Expires); err != nil {
				return fmt.Errorf("cannot use auth.robots: expires %w", err)
			}
		}
		list = append(list, r)
	}
	fixed, err := knownOf(list)
	if err != nil {
		return fmt.Errorf("cannot use auth.robots: %w", err)
	}
	g.robots = &robots{fixed: fixed, store: g.keys.store, now: time.Now, gate: limit.NewGate(limit.Default(robotsWork), time.Now),
		warn: func(err error) { s.log.WithError(err).Warn("cannot read the list of robots") },
		used: func(name string) { s.pulls.Note(pulls.Robot(name)) }}
	g.robots.list.Store(&robotList{})
	return nil
}

// Takes implements users.Source.
func (b *robots) Takes(_, password string) bool { return robot.Looks(password) }

// Login implements users.Source. A wrong checksum is refused without a look at any list.
func (b *robots) Login(ctx context.Context, remote, name, password string) (users.Proven, error) {
	nobody := users.Proven{By: identity.Robot}
	hash := ""
	if robot.IsText(password) && robot.NameProblem(name) == "" {
		hash = robot.Hash(password)
	}
	right := func(k known) bool { return subtle.ConstantTimeCompare([]byte(k.Hash), []byte(hash)) == 1 }
	var k known
	var err error
	ok := false
	if hash != "" {
		if k, ok, err = b.find(ctx, name, right); err != nil {
			return nobody, err
		}
	}
	if !ok {
		_, refused := b.gate.Do(limit.ClientOf(remote, robot.UserPrefix+name), func() bool {
			if hash != "" {
				k, ok, err = b.findNew(ctx, name, right)
			}
			return ok || err != nil
		})
		if refused != nil {
			return nobody, refused
		}
	}
	switch {
	case err != nil:
		return nobody, err
	case !ok:
		return nobody, users.ErrRefused
	case k.Ended(b.now()):
		nobody.User = k.User()
		return nobody, endedError{}
	}
	b.used(k.Name)
	return k.proven(k.Expires), nil
}

// Stands implements users.Source: a token that was made for a robot's ends with it, and is
// for what that is for at the moment.
func (b *robots) Stands(ctx context.Context, c *token.Claims) (users.Proven, bool) {
	if c.Proof != string(identity.Robot) {
		return users.Proven{}, false
	}
	name := strings.TrimPrefix(c.User, robot.UserPrefix)
	k, ok, err := b.find(ctx, name, func(k known) bool { return k.stamp == c.Stamp })
	if !ok || err != nil || k.Ended(b.now()) {
		return users.Proven{}, false
	}
	b.used(k.Name)
	return k.proven(c.Expires), true
}

func (k known) proven(until time.Time) users.Proven {
	return users.Proven{Who: acl.Who{User: k.User(), Groups: k.Groups}, By: identity.Robot, Until: until, Stamp: k.stamp, Within: k.within}
}

// find looks for a robot of a name: in the configuration, and in the list as it is now.
func (b *robots) find(ctx context.Context, name string, is func(known) bool) (known, bool, error) {
	if k, ok := among(b.fixed[name], is); ok || b.store == nil {
		return k, ok, nil
	}
	list, err := b.current(ctx)
	if err != nil {
		return known{}, false, err
	}
	k, ok := among(list.byName[name], is)
	return k, ok, nil
}

// findNew looks for a robot whose token may have been made just now.
func (b *robots) findNew(ctx context.Context, name string, is func(known) bool) (known, bool, error) {
	if b.store == nil {
		return known{}, false, nil
	}
	asked := b.now()
	select {
	case <-time.After(min(robotsPause, robotsPause-asked.Sub(b.list.Load().tried))):
	case <-ctx.Done():
		return known{}, false, ctx.Err()
	}
	for b.list.Load().tried.Before(asked) { // a look that was under way may have been too early
		if err := b.look(ctx); err != nil {
			return known{}, false, err
		}
	}
	return b.find(ctx, name, is)
}

func among(list []known, is func(known) bool) (known, bool) {
	for _, k := range list {
		if is(k) {
			return k, true
		}
	}
	return known{}, false
}

// current is the list as it was at most robotsStale ago, or the last one while it cannot be
// read. The error is users.ErrAway or that of ctx.
func (b *robots) current(ctx context.Context) (*robotList, error) {
	list, now := b.list.Load(), b.now()
	switch {
	case now.Sub(list.tried).Abs() < robotsFresh:
	case now.Sub(list.read).Abs() < robotsStale:
		b.turns.DoChan("", b.read)
	default:
		if err := b.look(ctx); err != nil {
			return nil, err
		}
		list = b.list.Load()
	}
	if b.now().Sub(list.read).Abs() >= robotsUnread {
		return nil, fmt.Errorf("the list of robots cannot be read: %w", users.ErrAway)
	}
	return list, nil
}

// look reads the list once for all who wait for it.
func (b *robots) look(ctx context.Context) error {
	select {
	case <-b.turns.DoChan("", b.read):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read reads the list. One that cannot be read leaves the last one in force.
func (b *robots) read() (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), robotsTime)
	defer cancel()
	next := robotList{tried: b.now()}
	data, _, err := b.store.Get(ctx, robot.Object)
	if errors.Is(err, sharedstate.ErrNotFound) {
		data, err = nil, nil
	}
	var list []robot.Robot
	if err == nil {
		list, err = robot.ParseList(data)
	}
	if err == nil {
		next.byName, err = knownOf(list)
	}
	if next.read = next.tried; err != nil {
		b.warn(err)
		last := b.list.Load()
		next.byName, next.read = last.byName, last.read
	}
	b.list.Store(&next)
	return nil, nil
}
