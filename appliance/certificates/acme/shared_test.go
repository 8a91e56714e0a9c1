//go:build integration

package acme

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/gateway"
	"github.com/redoubt-registry/redoubt/test/pebble"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// another is one more machine of the world's bucket, with a disk of its own.
func (w *world) another() *world {
	w.t.Helper()
	o := newMachine(w.t, w.Want.Names...)
	o.ca, o.Want = w.ca, w.Want
	o.Renewer.Now = w.Now
	o.join(w.parameters)
	return o
}

// copied is what the machine keeps of the memory.
func (w *world) copied() *Memory {
	w.t.Helper()
	m, _, err := Load(w.t.Context(), w.Local)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func TestSharedLostAnswers(t *testing.T) {
	t.Parallel()
	for name, start := range services {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			g := gateway.Start(t, s)
			var puts, lost atomic.Int64
			g.Lose(func(r *http.Request) bool {
				lose := r.Method == http.MethodPut && puts.Add(1)%2 == 1
				if lose {
					lost.Add(1)
				}
				return lose
			})
			w := newWorld(t, pebble.Options{}, "registry.example.com")
			w.share(s, g.Endpoint)
			p := w.front()
			w.issued()
			if n := len(p.Requests(newOrder)); n != 1 || lost.Load() < 3 {
				t.Errorf("%d orders, with %d answers lost", n, lost.Load())
			}
			w.due()
			w.issued()
		})
	}
}

// A bucket that is down at a tick: an error, no request to the CA, and the copy
// stays what is published.
func TestSharedStoreDown(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, w *world, s *stores.Store) {
		p := w.front()
		before := *w.issued()
		w.due()
		if w.copied().Chain != before.Chain {
			t.Error("there is no copy")
		}
		p.Forget()
		s.Kill()
		w.fails("cannot read the state of the certificate", "in the bucket")
		if r := p.Requests(""); len(r) > 0 {
			t.Errorf("the CA is asked: %q", r)
		}
		if m := w.copied(); m.Chain != before.Chain || m.Key != before.Key {
			t.Error("the copy changed")
		}
		s.Start()
		w.issued()
		if w.copied().Chain == before.Chain {
			t.Error("the new certificate is not in the copy")
		}
	})
}

func TestSharedDamagedState(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, w *world, _ *stores.Store) {
		p := w.front()
		m := *w.issued()
		whole, version, err := w.Store.Get(t.Context(), stateKey)
		if err != nil {
			t.Fatal(err)
		}
		p.Forget()
		for name, damaged := range map[string][]byte{
			"it is empty":                {},
			"it holds nothing but zeros": make([]byte, len(whole)),
			"it is cut off or damaged":   whole[:len(whole)/2],
			"it has format 2":            bytes.Replace(whole, []byte(`"format": 1`), []byte(`"format": 2`), 1),
		} {
			if version, err = w.Store.Put(t.Context(), stateKey, damaged, version); err != nil {
				t.Fatal(err)
			}
			w.fails(name, "s3://bucket-1/some/root/redoubt/state/state.json", "It is left as it is", "/var/lib/redoubt/acme")
			if now, _, err := w.Store.Get(t.Context(), stateKey); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("%s: the object was changed: %v", name, err)
			}
			if _, err := w.Tick(t.Context()); !isDamaged(err) {
				t.Errorf("%s: no alert would come of %v", name, err)
			}
			if w.copied().Chain != m.Chain {
				t.Errorf("%s: the copy is lost", name)
			}
		}
		if r := p.Requests(""); len(r) > 0 {
			t.Errorf("the CA is asked: %q", r)
		}
		// As the message says: from the copy of any machine.
		kept, err := os.ReadFile(filepath.Join(w.dir, "acme", stateKey))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Store.Put(t.Context(), stateKey, kept, version); err != nil {
			t.Fatal(err)
		}
		w.idle()
	})
}

func isDamaged(err error) bool {
	_, ok := errors.AsType[*sharedstate.Damaged](err)
	return ok
}

// A machine that was alone brings its certificate and its account to the bucket,
// and no other is ordered; the next ones take it up.
func TestSharedFromOne(t *testing.T) {
	t.Parallel()
	for name, start := range services {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, pebble.Options{}, "registry.example.com")
			p := w.front()
			first := *w.issued()
			p.Forget()
			s := start(t)
			w.share(s, s.Endpoint)
			w.adopts()
			shared := w.memory()
			if shared.Chain != first.Chain || shared.Account.Location != first.Account.Location {
				t.Error("it is not what the machine had")
			}
			o := w.another()
			o.tick()
			if o.copied().Chain != first.Chain || o.copied().Key != first.Key {
				t.Error("the second machine has another")
			}
			// One that has a certificate of its own leaves the shared one alone.
			alone := newMachine(t, "registry.example.com")
			alone.ca, alone.Want = w.ca, w.Want
			alone.Challenges = w.Challenges
			mine := *alone.issued()
			p.Forget()
			alone.join(w.parameters)
			alone.tick()
			if have := alone.copied(); have.Chain != first.Chain || have.Chain == mine.Chain || w.memory().Chain != first.Chain {
				t.Error("the shared certificate is not taken, or not left alone")
			}
			if r := p.Requests(newOrder); len(r) > 0 {
				t.Errorf("orders: %q", r)
			}
			// Alone again, it goes on from the copy.
			alone.Store, alone.Local = alone.Local, nil
			alone.idle()
		})
	}
}

// adopts is a tick that orders nothing where the store is empty.
func (w *world) adopts() {
	w.t.Helper()
	if m := w.tick(); m.Number != 1 {
		w.t.Errorf("there are %d certificates: %s", m.Number, w.out.String())
	}
}

// Each machine takes up what another one has renewed.
func TestSharedRenewal(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, w *world, _ *stores.Store) {
		p := w.front()
		w.issued()
		o := w.another()
		o.tick()
		w.due()
		p.Forget()
		m := *o.issued()
		w.idle()
		if w.copied().Chain != m.Chain {
			t.Error("it has the old one still")
		}
		if n := len(p.Requests(newOrder)); n != 1 {
			t.Errorf("%d orders", n)
		}
	})
}

// While the configuration changes on one machine after the other, and where it
// differs by mistake, they do not order against each other.
func TestSharedDissent(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, w *world, _ *stores.Store) {
		p := w.front()
		w.issued()
		o := w.another()
		o.Want.Names = []string{"registry.example.com", "alias.example.com"}
		o.issued() // it lacks a name
		w.idle()   // it has a name too many
		o.idle()
		o.Want.Names = []string{"registry.example.com", "other.example.com"}
		o.issued()
		w.Want.Names = []string{"registry.example.com", "third.example.com"}
		w.issued()
		p.Forget()
		for range 3 {
			o.fails("another machine has had the certificate changed", "the names have changed", "redoubt renew --force")
			w.idle()
		}
		if r := p.Requests(""); len(r) > 0 {
			t.Errorf("requests: %q", r)
		}
		o.Force = true
		o.issued()
		o.Force = false
		if !strings.Contains(w.fails("another machine").Chain, "CERTIFICATE") {
			t.Error("what serves is gone")
		}
	})
}
