package audit

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	failuresPause = time.Minute
	// failuresAddresses bounds the addresses that are told apart in a minute.
	failuresAddresses = 256
)

// failures counts refused logins by address: a stranger must not fill the log.
type failures struct {
	pause time.Duration
	write func(Event)

	mu      sync.Mutex
	counted map[netip.Prefix]*Event // since the first of them was written; Count is how many more
	pending bool
}

func newFailures(pause time.Duration, write func(Event)) *failures {
	return &failures{pause: pause, write: write, counted: map[netip.Prefix]*Event{}}
}

// count notes a refused login. It says whether it is to be written by itself.
func (f *failures) count(e Event) bool {
	key := network(e.Address)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.pending {
		f.pending = true
		time.AfterFunc(f.pause, f.tell)
	}
	known, ok := f.counted[key]
	switch {
	case !ok && len(f.counted) < failuresAddresses:
		f.counted[key] = &e
		return true
	case !ok:
		key = netip.Prefix{} // of all other addresses together
		if known = f.counted[key]; known == nil {
			known = &Event{Action: e.Action, Result: e.Result, Detail: "from other addresses"}
			f.counted[key] = known
		}
	}
	known.Count++
	known.Time = e.Time
	if known.User != e.User {
		known.User = ""
	}
	return false
}

// tell writes how many more there were of each address.
func (f *failures) tell() {
	f.mu.Lock()
	counted := f.counted
	f.counted, f.pending = map[netip.Prefix]*Event{}, false
	f.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(counted), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, key := range keys {
		e := *counted[key]
		if e.Count == 0 {
			continue
		}
		e.ID = ""
		if key.IsValid() && !key.IsSingleIP() {
			e.Address = key.String()
		}
		f.write(e)
	}
}

// network is what counts as one address: an IPv4 address, or the /64 that one client has
// of IPv6.
func network(address string) netip.Prefix {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
