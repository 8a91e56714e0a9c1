//go:build integration

package registry

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// attack is strangers who try ever new wrong passwords over HTTP/2.
type attack struct {
	wrong   atomic.Int64 // answers 401
	limited atomic.Int64 // answers 429
	other   atomic.Int64
	last    atomic.Pointer[answer] // that was 429
	wait    sync.WaitGroup
}

// streams are the requests at a time of one connection.
const streams = 50

// attack starts a connection from each address, which sends so many requests in
// the name of a user.
func (m *machine) attack(ctx context.Context, requests int, user func(int) string, addresses ...string) *attack {
	a := &attack{}
	for c, address := range addresses {
		transport := m.transportFrom(address)
		var sent atomic.Int64
		for range streams {
			a.wait.Go(func() {
				for i := int(sent.Add(1)); i <= requests && ctx.Err() == nil; i = int(sent.Add(1)) {
					a.count(m.login(ctx, transport, user(c*requests+i), fmt.Sprint("wrong", c, i)))
				}
			})
		}
		go func() { a.wait.Wait(); transport.CloseIdleConnections() }()
	}
	return a
}

func (a *attack) count(got answer, err error) {
	switch {
	case err != nil:
		a.other.Add(1)
	case got.StatusCode == http.StatusUnauthorized:
		a.wrong.Add(1)
	case got.StatusCode == http.StatusTooManyRequests:
		a.limited.Add(1)
		a.last.Store(&got)
	default:
		a.other.Add(1)
	}
}

// transportFrom makes one connection, from an address of the loopback.
func (m *machine) transportFrom(address string) *http.Transport {
	transport := m.transport()
	transport.MaxConnsPerHost = 1
	transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	return transport
}

// login asks for /v2/, as docker login does.
func (m *machine) login(ctx context.Context, transport *http.Transport, user, pass string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.host()+"/v2/", nil)
	if err != nil {
		return answer{}, err
	}
	if user != "" {
		r.SetBasicAuth(user, pass)
	}
	w, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return answer{w, string(text)}, err
}

// costlyUsers gives the machine users whose passwords take a time to check.
func (m *machine) costlyUsers(t testing.TB, cost int, names ...string) {
	t.Helper()
	var lines []string
	for _, n := range names {
		h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		check(t, err)
		lines = append(lines, n+":"+string(h))
	}
	m.write(t, "htpasswd", strings.Join(lines, "\n"))
}

var attacks = map[string]struct {
	user      func(int) string
	addresses []string
}{
	"other addresses, new names":    {strconv.Itoa, []string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}},
	"the user's address, new names": {strconv.Itoa, []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"}},
	"the user's address and name":   {func(int) string { return "bob" }, []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"}},
	"other addresses, the same name": {func(int) string { return "bob" },
		[]string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"}},
}

// TestStrangersDoNotHoldUpALogin holds that a right password that was never seen
// is checked before what strangers sent earlier, and that they are told to wait.
func TestStrangersDoNotHoldUpALogin(t *testing.T) {
	for name, tc := range attacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.config(t, "info")
			m.costlyUsers(t, 7, "alice", "bob", "carol")
			m.start(t)
			if got, err := m.do("GET", "https://"+m.host()+"/v2/", nil); err != nil || got.StatusCode != 200 {
				t.Fatalf("alice: %v %v", got.StatusCode, err)
			}
			good := m.transportFrom("127.0.0.1")
			defer good.CloseIdleConnections()
			if got, err := m.login(t.Context(), good, "", ""); err != nil || got.StatusCode != http.StatusUnauthorized {
				t.Fatalf("no login: %d %v", got.StatusCode, err)
			}
			began := time.Now()
			a := m.attack(t.Context(), 100, tc.user, tc.addresses...)
			for a.wrong.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			before := a.wrong.Load()
			got, err := m.login(t.Context(), good, "bob", password)
			if err != nil || got.StatusCode != http.StatusOK {
				t.Errorf("bob's right password: %d %v %s", got.StatusCode, err, got.body)
			}
			// Those at work, one of each connection, and what is on its way.
			if n := a.wrong.Load() - before; n > 40 {
				t.Errorf("%d wrong passwords of strangers were checked before bob's", n)
			}
			a.wait.Wait()
			m.settled(t, a, good)
			most := 60 + int64(time.Since(began)/(5*time.Second)) + 2 // of an address: what time forgives, what was at work
			if n := a.wrong.Load(); n > most*int64(len(tc.addresses)) {
				t.Errorf("%d guesses were checked", n)
			}
		})
	}
}

// settled looks at what is left of an attack: who is refused, how, and who is not.
func (m *machine) settled(t *testing.T, a *attack, good *http.Transport) {
	t.Helper()
	last := a.last.Load()
	if last == nil || a.other.Load() > 0 {
		t.Fatalf("%d were answered 401, %d 429, %d otherwise", a.wrong.Load(), a.limited.Load(), a.other.Load())
	}
	if seconds, err := strconv.Atoi(last.Header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After: %s", last.Header.Get("Retry-After"))
	}
	if !strings.HasPrefix(last.body, `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many`) {
		t.Errorf("the answer is %s", last.body)
	}
	for _, user := range []string{"alice", "bob", "carol"} { // two are remembered, carol is new
		if got, err := m.login(t.Context(), good, user, password); err != nil || got.StatusCode != http.StatusOK {
			t.Errorf("%s after the attack: %d %v %s", user, got.StatusCode, err, got.body)
		}
	}
}

// BenchmarkLoginUnderAttack measures what a right password takes that was never
// seen, on a connection of its own, while strangers try wrong ones without end.
func BenchmarkLoginUnderAttack(b *testing.B) {
	for name, tc := range attacks {
		b.Run(name, func(b *testing.B) {
			m := newMachine(b)
			m.config(b, "warn")
			names := []string{"bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mike"}
			m.costlyUsers(b, bcrypt.DefaultCost, names...)
			m.start(b)
			ctx, stop := context.WithCancel(b.Context())
			a := m.attack(ctx, math.MaxInt32, tc.user, tc.addresses...)
			defer a.wait.Wait()
			defer stop()
			var worst, sum time.Duration
			for i := range b.N {
				if i > 0 && i%len(names) == 0 {
					m.costlyUsers(b, bcrypt.DefaultCost, names...) // new hashes: nothing is remembered
				}
				time.Sleep(300 * time.Millisecond)
				began := time.Now()
				good := m.transportFrom("127.0.0.1")
				got, err := m.login(ctx, good, names[i%len(names)], password)
				took := time.Since(began)
				good.CloseIdleConnections()
				if err != nil || got.StatusCode != http.StatusOK {
					b.Fatalf("login %d: %d %v %s", i, got.StatusCode, err, got.body)
				}
				worst, sum = max(worst, took), sum+took
			}
			b.ReportMetric(worst.Seconds(), "worst-s")
			b.ReportMetric(sum.Seconds()/float64(b.N), "mean-s")
			b.ReportMetric(float64(a.limited.Load()), "limited")
		})
	}
}
