package limit

import (
	"crypto/sha256"
	"net/netip"
	"slices"
	"time"
)

// Place is a client's place in a Queue.
type Place struct {
	Client Client
	turn   chan error // of a Gate: nil when it is the client's turn, or why it never will be
}

// Queue holds the clients who wait for a check, and the failures of all. It has
// no clock, and is not safe for concurrent use: Gate is.
type Queue struct {
	limits      Limits
	addresses   buckets[netip.Prefix]
	spare       buckets[netip.Prefix]
	connections buckets[netip.AddrPort]
	users       buckets[[sha256.Size]byte]

	waiting []*Place // in the order in which they came
	working []*Place
}

// NewQueue returns an empty queue.
func NewQueue(limits Limits) *Queue {
	return &Queue{
		limits:      limits,
		addresses:   newBuckets[netip.Prefix](limits.Address, limits.Known),
		spare:       newBuckets[netip.Prefix](limits.Spare, limits.Known),
		connections: newBuckets[netip.AddrPort](limits.Address, limits.Known), // they never refuse, they only tell who is first
		users:       newBuckets[[sha256.Size]byte](limits.User, limits.Known),
	}
}

// Enter gives the client a place, or refuses a client who has failed too often.
// Where all places are taken, the one who crowds most loses it: out is not nil
// then, and may be the new place itself.
func (q *Queue) Enter(c Client, now time.Time) (p, out *Place, err *Refused) {
	if err := q.refuse(c, now); err != nil {
		return nil, nil, err
	}
	p = &Place{Client: c, turn: make(chan error, 1)}
	q.waiting = append(q.waiting, p)
	if len(q.waiting) > q.limits.Waiting {
		out = q.crowding(now)
		q.remove(out)
	}
	return p, out, nil
}

// Next returns whose turn it is, or nil where nobody waits or enough are at
// work. The error says that the client has failed too often meanwhile: it is
// refused, and not at work.
func (q *Queue) Next(now time.Time) (*Place, *Refused) {
	if len(q.waiting) == 0 || len(q.working) >= q.limits.Working {
		return nil, nil
	}
	p := q.first(now)
	q.remove(p)
	if err := q.refuse(p.Client, now); err != nil {
		return p, err
	}
	q.working = append(q.working, p)
	return p, nil
}

// Leave takes back a place: of a client who waits no more, or whose password
// was checked, and then was right or has failed.
func (q *Queue) Leave(p *Place, failed bool, now time.Time) {
	q.remove(p)
	if !failed {
		return
	}
	if q.tooOften(p.Client, now) > 0 {
		q.spare.fail(p.Client.Address, now)
	}
	q.addresses.fail(p.Client.Address, now)
	q.connections.fail(p.Client.Connection, now)
	q.users.fail(p.Client.User, now)
}

// Waiting is how many wait.
func (q *Queue) Waiting() int { return len(q.waiting) }

// refuse says whether the client has failed too often to try again now.
func (q *Queue) refuse(c Client, now time.Time) *Refused {
	wait := q.tooOften(c, now)
	if wait == 0 {
		return nil
	}
	if q.connections.failures(c.Connection, now) == 0 && !q.spare.spent(c.Address, now) {
		return nil
	}
	return refused(wait)
}

// tooOften is how long it takes until the client is within the limits.
func (q *Queue) tooOften(c Client, now time.Time) (wait time.Duration) {
	if q.users.spent(c.User, now) && q.addresses.failures(c.Address, now) > 0 {
		wait = min(q.users.until(1, c.User, now), q.addresses.until(q.limits.Address.Burst, c.Address, now))
	}
	if q.addresses.spent(c.Address, now) {
		wait = max(wait, q.addresses.until(1, c.Address, now))
	}
	return wait
}

// first is who has failed least: by address, then by connection, then by user,
// where a check at work counts as a failure. Of equals, who came first.
func (q *Queue) first(now time.Time) *Place {
	load := count(q.working)
	rank := func(p *Place) [3]int {
		return [3]int{
			q.addresses.failures(p.Client.Address, now) + load.addresses[p.Client.Address],
			q.connections.failures(p.Client.Connection, now) + load.connections[p.Client.Connection],
			q.users.failures(p.Client.User, now) + load.users[p.Client.User],
		}
	}
	return least(q.waiting, rank)
}

// crowding is who has most places and failures: by address, then by connection,
// then by user. Of equals, who came last.
func (q *Queue) crowding(now time.Time) *Place {
	load := count(q.waiting)
	rank := func(p *Place) [3]int {
		return [3]int{
			-q.addresses.failures(p.Client.Address, now) - load.addresses[p.Client.Address],
			-q.connections.failures(p.Client.Connection, now) - load.connections[p.Client.Connection],
			-q.users.failures(p.Client.User, now) - load.users[p.Client.User],
		}
	}
	latest := slices.Clone(q.waiting)
	slices.Reverse(latest)
	return least(latest, rank)
}

// least is the first place of the lowest rank.
func least(places []*Place, rank func(*Place) [3]int) *Place {
	best, bestRank := places[0], rank(places[0])
	for _, p := range places[1:] {
		if r := rank(p); slices.Compare(r[:], bestRank[:]) < 0 {
			best, bestRank = p, r
		}
	}
	return best
}

func (q *Queue) remove(p *Place) {
	same := func(other *Place) bool { return other == p }
	q.waiting = slices.DeleteFunc(q.waiting, same)
	q.working = slices.DeleteFunc(q.working, same)
}

// load is how many places each has.
type load struct {
	addresses   map[netip.Prefix]int
	connections map[netip.AddrPort]int
	users       map[[sha256.Size]byte]int
}

func count(places []*Place) load {
	l := load{map[netip.Prefix]int{}, map[netip.AddrPort]int{}, map[[sha256.Size]byte]int{}}
	for _, p := range places {
		l.addresses[p.Client.Address]++
		l.connections[p.Client.Connection]++
		l.users[p.Client.User]++
	}
	return l
}
