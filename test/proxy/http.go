package proxy

import (
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is what befalls some requests.
type Fault struct {
	Match  func(*http.Request) bool // nil: every request
	Share  float64                  // of those, by chance, from 0 to 1; 0: all
	Times  int                      // so many at most; 0: without end
	Delay  time.Duration            // before anything else
	Status int                      // answered in the server's place; 0: none
	Empty  bool                     // with no body; else with S3's document of an error
	Lost   bool                     // the server does it first: then that answer counts for nothing, and without Status the connection ends
}

// HTTP starts a proxy that reads requests of HTTP/1.1 to a URL. It keeps the Host
// of a request, so that what a client signed stays as it was.
func HTTP(t Owner, target string) *Proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" {
		t.Fatalf("cannot stand in front of %q: it must be a URL of http (TCP can stand in front of TLS)", target)
	}
	f := &faults{counts: map[string]int{}}
	reverse := &httputil.ReverseProxy{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second, DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = u.Scheme, u.Host
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		// A server that is gone answers nothing; so do we.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewUnstartedServer(f.handler(reverse))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	p := TCP(t, strings.TrimPrefix(server.URL, "http://"))
	p.http = f
	return p
}

// Set says what befalls requests from now on: the first fault that a request
// matches. None: it ends all.
func (p *Proxy) Set(all ...Fault) { p.http.set(all) }

// Requests is how many have come since Forget, whose method and path with query
// contain part.
func (p *Proxy) Requests(part string) int {
	p.http.mu.Lock()
	defer p.http.mu.Unlock()
	n := 0
	for name, count := range p.http.counts {
		if strings.Contains(name, part) {
			n += count
		}
	}
	return n
}

// Hit is how many requests a fault has befallen since the proxy began.
func (p *Proxy) Hit() int {
	p.http.mu.Lock()
	defer p.http.mu.Unlock()
	return p.http.hit
}

// Forget starts Requests at nothing.
func (p *Proxy) Forget() {
	p.http.mu.Lock()
	defer p.http.mu.Unlock()
	clear(p.http.counts)
}

// faults is what befalls requests.
type faults struct {
	mu     sync.Mutex
	all    []*Fault
	counts map[string]int // of requests, by method and path with query
	hit    int
}

func (f *faults) set(all []Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = nil
	for _, fault := range all {
		if fault.Times == 0 {
			fault.Times = -1
		}
		f.all = append(f.all, &fault)
	}
}

// of answers the fault that befalls a request, nil if none does.
func (f *faults) of(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[r.Method+" "+r.URL.RequestURI()]++
	for _, fault := range f.all {
		if fault.Times == 0 || fault.Match != nil && !fault.Match(r) {
			continue
		}
		if fault.Share > 0 && rand.Float64() >= fault.Share {
			return nil
		}
		fault.Times--
		f.hit++
		return fault
	}
	return nil
}

func (f *faults) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := f.of(r)
		if fault == nil {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			return
		}
		switch {
		case fault.Lost:
			next.ServeHTTP(nowhere{http.Header{}}, r)
			if fault.Status == 0 {
				panic(http.ErrAbortHandler)
			}
			fault.answer(w, r)
		case fault.Status != 0:
			fault.answer(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// answer answers as an S3 store does, or without a body.
func (fault *Fault) answer(w http.ResponseWriter, r *http.Request) {
	if fault.Empty || r.Method == http.MethodHead {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(fault.Status)
		return
	}
	code := "InternalError"
	switch fault.Status {
	case http.StatusServiceUnavailable:
		code = "SlowDown"
	case http.StatusInsufficientStorage:
		code = "InsufficientStorage"
	case http.StatusForbidden:
		code = "AccessDenied"
	}
	body := `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>" + code +
		"</Code><Message>The test says so.</Message><RequestId>test</RequestId></Error>"
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(fault.Status)
	_, _ = io.WriteString(w, body) // the client may have gone
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header            { return n.header }
func (nowhere) WriteHeader(int)                  {}
func (nowhere) Write(p []byte) (int, error)      { return len(p), nil }
func (nowhere) Flush()                           {}
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
