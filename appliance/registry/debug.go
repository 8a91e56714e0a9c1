package registry

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
)

// debugServer serves metrics and health: on a loopback address, or with TLS anywhere.
type debugServer struct {
	mu     sync.Mutex
	addr   string
	tls    bool
	server *http.Server
	socket net.Listener
}

// move makes addr the address, before the old one is given up. Empty is none. Without TLS
// it must be a loopback address.
func (d *debugServer) move(addr string, h http.Handler, c *tls.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if addr == d.addr && d.tls == (c != nil) {
		return nil
	}
	if addr == d.addr && d.server != nil { // the port is taken by ourselves
		_ = d.server.Close()
		_ = d.socket.Close()
		d.addr, d.server, d.socket = "", nil, nil
	}
	var next *http.Server
	var l net.Listener
	if addr != "" {
		var err error
		l, err = metrics.Listen(addr, c != nil)
		if err != nil {
			return err
		}
		b := bounds.Default()
		next = &http.Server{Handler: h, TLSConfig: c, ReadHeaderTimeout: b.Header, ReadTimeout: b.Header, WriteTimeout: time.Minute, IdleTimeout: b.Idle,
			MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0)}
		server, on := next, l // which end with Close
		go func() {
			if c != nil {
				_ = server.ServeTLS(on, "", "")
				return
			}
			_ = server.Serve(on)
		}()
	}
	if d.server != nil {
		_ = d.server.Close() // nothing of a client's is lost
		_ = d.socket.Close() // which a server that has not begun to serve does not
	}
	d.addr, d.tls, d.server, d.socket = addr, c != nil, next, l
	return nil
}

func (d *debugServer) close() { _ = d.move("", nil, nil) }
