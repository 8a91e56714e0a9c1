//go:build integration

package acme

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// world is a CA, a machine that answers its challenges, and the machine's store.
type world struct {
	*Renewer
	t    *testing.T
	ca   *pebble.CA
	dir  string
	late time.Duration // of the machine's clock
	out  bytes.Buffer

	parameters map[string]any // of the bucket that it shares; nil: it is alone
}

// newWorld starts a CA that finds the answers that the machine's store has.
func newWorld(t *testing.T, o pebble.Options, names ...string) *world {
	t.Helper()
	w := newMachine(t, names...)
	if o.HTTPPort == 0 {
		o.HTTPPort = w.answer()
	}
	w.ca = pebble.Start(t, o)
	w.Want.Directory, w.Want.Roots = w.ca.Directory, w.ca.Roots
	return w
}

func newMachine(t *testing.T, names ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.Renewer = renewer(w.dir, names...)
	w.Renewer.Now = func() time.Time { return time.Now().Add(w.late) }
	w.Renewer.Out = &w.out
	return w
}

func renewer(dir string, names ...string) *Renewer {
	return &Renewer{
		Store:      sharedstate.Dir{Path: filepath.Join(dir, "acme"), Mode: 0o600, GID: -1, Now: time.Now},
		Challenges: sharedstate.Dir{Path: filepath.Join(dir, "challenges"), Mode: 0o640, GID: -1, Now: time.Now},
		Want:       Want{Names: names},
		Owner:      "test " + strconv.Itoa(os.Getpid()),
		UserAgent:  "redoubt-test",
		Now:        time.Now,
		Out:        os.Stderr,
	}
}

// answer serves the answers to challenges, as the registry does, and returns
// the port.
func (w *world) answer() int {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")
		data, _, err := w.Challenges.Get(r.Context(), token)
		if err != nil {
			http.NotFound(out, r)
			return
		}
		out.Write(data)
	})}
	go server.Serve(l) // ends with the test
	w.t.Cleanup(func() { server.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// tick is one tick that must succeed.
func (w *world) tick() *Memory {
	w.t.Helper()
	m, err := w.Tick(context.Background())
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.out.String())
	}
	return m
}

// fails is one tick that must fail with all of words in its error.
func (w *world) fails(words ...string) *Memory {
	w.t.Helper()
	m, err := w.Tick(context.Background())
	if err == nil {
		w.t.Fatal("the tick succeeds")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("the error lacks %q: %v", word, err)
		}
	}
	return m
}

// issued is a tick after which there is a new certificate.
func (w *world) issued() *Memory {
	w.t.Helper()
	before := w.memory().Number
	m := w.tick()
	if m.Number != before+1 {
		w.t.Fatalf("there are %d certificates, and were %d\n%s", m.Number, before, w.out.String())
	}
	pair, err := m.Pair()
	if err != nil {
		w.t.Fatal(err)
	}
	if !m.Fits(w.Want.Names) {
		w.t.Errorf("the certificate is for %v %v", pair.Leaf.DNSNames, pair.Leaf.IPAddresses)
	}
	return m
}

// idle is a tick that changes nothing.
func (w *world) idle() {
	w.t.Helper()
	before := w.memory().Number
	if m := w.tick(); m.Number != before {
		w.t.Fatalf("a certificate was made: %s", w.out.String())
	}
}

func (w *world) memory() *Memory {
	w.t.Helper()
	m, _, err := Load(context.Background(), w.Store)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// change rewrites the memory, as if time had passed or something had happened.
func (w *world) change(f func(m *Memory)) {
	w.t.Helper()
	m, version, err := Load(context.Background(), w.Store)
	if err != nil {
		w.t.Fatal(err)
	}
	f(m)
	if err := save(context.Background(), w.Store, m, &version); err != nil {
		w.t.Fatal(err)
	}
}

// ask makes the next tick ask the CA when to renew.
func (w *world) ask() {
	w.change(func(m *Memory) { m.Suggestion.AskAt = time.Time{} })
}

// patient lets the pause after failures be over, but not what the CA asked for.
func (w *world) patient() {
	w.change(func(m *Memory) { m.Failures = m.Failures.Retry() })
}

// due makes the next tick renew, since the CA has suggested it.
func (w *world) due() {
	w.t.Helper()
	w.change(func(m *Memory) {
		start := w.Now().Add(-2 * time.Hour)
		m.Suggestion = Suggestion{Asked: w.Now(), AskAt: w.Now().Add(time.Hour),
			Window: &renewal.Window{Start: start, End: start.Add(time.Hour), Selected: start.Add(time.Minute)}}
	})
}

// at puts the machine's clock to the part of the certificate's lifetime.
func (w *world) at(part float64) {
	w.t.Helper()
	leaf := w.memory().leaf()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	w.late = time.Until(leaf.NotBefore.Add(time.Duration(part * float64(life))))
}

// front puts a proxy before the CA, whose clock then goes with the machine's.
func (w *world) front() *pebble.Proxy {
	w.t.Helper()
	p := pebble.Front(w.t, w.ca)
	p.After(func(r *http.Response) { r.Header.Set("Date", w.Now().UTC().Format(http.TimeFormat)) })
	w.Want.Directory, w.Want.Roots = p.Directory, p.Roots
	return p
}

const newOrder = "/order-plz"

// replaces is what an order says that it replaces, and true if r is an order.
func replaces(t *testing.T, r *http.Request) (string, bool) {
	if r.URL.Path != newOrder {
		return "", false
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	var envelope struct{ Payload string }
	var order struct{ Replaces string }
	if err := json.Unmarshal(data, &envelope); err != nil {
		t.Error(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(envelope.Payload)
	if err != nil || json.Unmarshal(payload, &order) != nil {
		t.Errorf("an order that cannot be read: %s", payload)
	}
	return order.Replaces, true
}
