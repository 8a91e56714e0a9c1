// Package bounds keeps each phase of a connection from costing more than it
// should: how long it may stand still, how much it may send, and how many there
// may be. What moves is never cut: a layer of many gigabytes takes as long as the
// client's line does.
package bounds

import (
	"net/http"
	"time"
)

// Bounds are the limits of all phases. Durations of zero and numbers of zero take
// the value of Default.
type Bounds struct {
	Header      time.Duration // for a TLS handshake, and for the header of a request
	Stall       time.Duration // without one byte of a body, from or to the client
	Idle        time.Duration // between two requests of a connection
	Drain       time.Duration // instead of Stall, once the server is told to end
	HeaderBytes int           // of the header of a request
	Streams     int           // requests at once on one HTTP/2 connection
	Connections int           // open at once
	PerAddress  int           // of them from one address; a /64 counts as one
}

// Default returns the bounds of a machine. They are documented in
// docs/operations.md, and a test holds them equal.
func Default() Bounds {
	return Bounds{
		Header:      20 * time.Second,
		Stall:       time.Minute,
		Idle:        3 * time.Minute,
		Drain:       5 * time.Second,
		HeaderBytes: 64 << 10,
		Streams:     100,
		Connections: 8192,
		PerAddress:  1024,
	}
}

// OrDefault fills in what is not set.
func (b Bounds) OrDefault() Bounds {
	d := Default()
	durations := [][2]*time.Duration{{&b.Header, &d.Header}, {&b.Stall, &d.Stall}, {&b.Idle, &d.Idle}, {&b.Drain, &d.Drain}}
	for _, p := range durations {
		if *p[0] == 0 {
			*p[0] = *p[1]
		}
	}
	numbers := [][2]*int{{&b.HeaderBytes, &d.HeaderBytes}, {&b.Streams, &d.Streams}, {&b.Connections, &d.Connections}, {&b.PerAddress, &d.PerAddress}}
	for _, p := range numbers {
		if *p[0] == 0 {
			*p[0] = *p[1]
		}
	}
	return b
}

// Server returns a server of h within the bounds. Its listeners must come from
// gate.Listen.
func (b Bounds) Server(h http.Handler, gate *Gate) *http.Server {
	return &http.Server{
		Handler:           gate.handler(h),
		ReadHeaderTimeout: b.Header,
		IdleTimeout:       b.Idle,
		MaxHeaderBytes:    b.HeaderBytes,
		ConnState:         gate.state,
		ConnContext:       gate.context,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: b.Streams,
			SendPingTimeout:      b.Stall / 2, // a client that is gone is found by a ping
			PingTimeout:          b.Stall / 2,
			WriteByteTimeout:     b.Stall,
		},
	}
}
