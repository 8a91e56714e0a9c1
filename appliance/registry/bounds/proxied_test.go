package bounds

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// through is a connection of a proxy, for a client that it names only when it is asked.
type through struct {
	net.Conn
	proxyIP, clientIP string
}

func (t through) Proxy() net.Addr      { return &net.TCPAddr{IP: net.ParseIP(t.proxyIP), Port: 1} }
func (t through) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(t.clientIP), Port: 2} }

func pipe(t *testing.T) net.Conn {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a
}

// A connection of a proxy counts for the client, from when the proxy has named him.
func TestConnectionsOfAProxy(t *testing.T) {
	g := NewGate(Bounds{PerAddress: 2, Connections: 6}.OrDefault())
	for range 4 { // more than one address may have, and nobody is named yet
		if g.admit(through{pipe(t), "10.0.0.5", "192.0.2.1"}) == nil {
			t.Fatal("the proxy is bounded as a client is")
		}
	}
	var all []net.Conn
	for c := range g.open {
		c.busy.Store(1)
		all = append(all, c)
	}
	for range 2 { // named twice, they count once
		for _, c := range all[:2] {
			c.RemoteAddr()
		}
	}
	if n := g.Open(); n != 4 || g.Refused() != 0 {
		t.Errorf("%d are open, %d refused", n, g.Refused())
	}
	all[2].RemoteAddr()
	if n := g.Open(); n != 3 || g.Refused() != 1 {
		t.Errorf("one client has a third connection: %d are open, %d refused", n, g.Refused())
	}
	for _, c := range all {
		c.Close()
	}
	if len(g.from) != 0 || g.Open() != 0 {
		t.Errorf("%v are left", g.from)
	}
	own := g.admit(through{pipe(t), "127.0.0.1", "192.0.2.1"})
	own.RemoteAddr()
	for c := range g.open {
		if c.own || !c.from.IsValid() {
			t.Error("a client behind a proxy of this machine counts as the machine itself")
		}
	}
	for range 6 {
		g.admit(through{pipe(t), "10.0.0.5", "192.0.2.9"})
	}
	if n := g.Open(); n != 6 {
		t.Errorf("%d connections of a proxy are open", n)
	}
}

// Requests over a proxy's own connections count for the clients that they are of.
func TestRequestsThroughAProxy(t *testing.T) {
	g := NewGate(Bounds{PerAddress: 2}.OrDefault())
	c := g.admit(through{pipe(t), "10.0.0.5", "10.0.0.5"}).(*conn)
	hold, begun := make(chan bool), make(chan bool)
	h := g.handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- true; <-hold }))
	ask := func(client string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = client
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(g.context(r.Context(), c)))
		return w
	}
	done := make(chan bool)
	for _, client := range []string{"192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:1", "10.0.0.5:1", "10.0.0.5:1", "10.0.0.5:1"} {
		go func() { ask(client); done <- true }()
		<-begun
	}
	if w := ask("192.0.2.1:1"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("a third request at once: %d", w.Code)
	}
	close(hold)
	for range 6 {
		<-done
	}
	go func() { <-begun }()
	if w := ask("192.0.2.1:1"); w.Code != http.StatusOK || len(g.asking) != 0 {
		t.Errorf("afterwards: %d, %v are left", w.Code, g.asking)
	}
}
