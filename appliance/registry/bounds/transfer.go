package bounds

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/identity"
)

// ErrStalled is what a handler reads of a body that stood still for too long.
var ErrStalled = errors.New("the client sent nothing for too long")

// transfers are the bodies that are under way.
type transfers struct {
	mu     sync.Mutex
	active map[*clock]struct{}
}

// clock ends a wait that takes too long. It is started before each wait and
// stopped after it, so that only the client's silence counts, not the storage's.
type clock struct {
	gate  *Gate
	timer *time.Timer
}

func (g *Gate) clock(end func()) *clock {
	c := &clock{gate: g, timer: time.AfterFunc(time.Hour, end)}
	c.timer.Stop()
	return c
}

func (c *clock) start() {
	t := &c.gate.transfer
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active[c] = struct{}{}
	c.timer.Reset(c.gate.stall())
}

func (c *clock) stop() {
	t := &c.gate.transfer
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.active, c)
	c.timer.Stop()
}

// hurry shortens all waits that are under way.
func (t *transfers) hurry(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.active {
		c.timer.Reset(d)
	}
}

func (g *Gate) stall() time.Duration {
	if g.draining.Load() {
		return g.bounds.Drain
	}
	return g.bounds.Stall
}

// handler bounds what next waits for. No body of a stranger is waited for once
// next has answered: net/http would read up to 256 KiB of it first.
func (g *Gate) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(connKey{}).(*conn)
		if c != nil {
			c.busy.Add(1)
			defer c.busy.Add(-1)
		}
		end := g.ask(c, r.RemoteAddr)
		if end == nil {
			refuse(w)
			return
		}
		defer end()
		ctx, who := identity.With(r.Context())
		r = r.WithContext(ctx)
		control := http.NewResponseController(w)
		body := &body{ReadCloser: r.Body, clock: g.clock(func() { _ = control.SetReadDeadline(time.Now()) })}
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = body
		} else {
			body.ended = true
		}
		out := &response{ResponseWriter: w, body: body, clock: g.clock(func() { _ = control.SetWriteDeadline(time.Now()) })}
		if r.ProtoMajor == 1 { // the deadline of the request before it
			_ = control.SetWriteDeadline(time.Time{})
		}
		defer func() {
			if r.ProtoMajor != 1 || out.hijacked { // HTTP/2 resets the stream at once
				return
			}
			_ = control.SetWriteDeadline(time.Now().Add(g.stall())) // what is still buffered
			switch {
			case body.ended:
			case who.User() == "" || body.stalled:
				_ = control.SetReadDeadline(time.Now())
			default:
				_ = control.SetReadDeadline(time.Now().Add(g.stall()))
			}
		}()
		next.ServeHTTP(out, r)
	})
}

// refuse answers a client that has too many requests under way through a proxy.
func refuse(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, crowdedJSON) // the client may be gone
}

const crowdedJSON = `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many requests at once: try again"}]}` + "\n"

// body is a request's.
type body struct {
	io.ReadCloser
	clock          *clock
	ended, stalled bool
}

func (b *body) Read(p []byte) (int, error) {
	b.clock.start()
	n, err := b.ReadCloser.Read(p)
	b.clock.stop()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.stalled, err = true, ErrStalled
	case errors.Is(err, io.EOF):
		b.ended = true
	}
	return n, err
}

// response is what a client is sent. A request whose body stalled is answered
// with 408 (RFC 9110, 15.5.9), whatever the handler makes of it.
type response struct {
	http.ResponseWriter
	body           *body
	clock          *clock
	wrote, dropped bool
	hijacked       bool
}

func (w *response) WriteHeader(status int) {
	if w.body.stalled && !w.wrote && status >= 400 {
		w.wrote, w.dropped = true, true
		h := w.Header()
		h.Del("Content-Length")
		h.Set("Content-Type", "application/json")
		h.Set("Connection", "close")
		w.ResponseWriter.WriteHeader(http.StatusRequestTimeout)
		_, _ = io.WriteString(w.ResponseWriter, stalledJSON) // the client may be gone
		return
	}
	w.wrote = w.wrote || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

const stalledJSON = `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"the body of the request stood still for too long: send it again"}]}` + "\n"

// piece is what a client must take within the bound for one that stands still.
const piece = 32 << 10

func (w *response) Write(p []byte) (written int, err error) {
	if w.dropped {
		return len(p), nil
	}
	w.wrote = true
	for {
		n := 0
		n, err = w.write(p[written:min(len(p), written+piece)])
		written += n
		if err != nil || written == len(p) || n == 0 {
			return written, err
		}
	}
}

func (w *response) write(p []byte) (int, error) {
	w.clock.start()
	defer w.clock.stop()
	return w.ResponseWriter.Write(p)
}

func (w *response) Flush() {
	w.clock.start()
	defer w.clock.stop()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
