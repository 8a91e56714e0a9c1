package registry

import (
	"net"
	"net/http"
	"sync"

	"github.com/redoubt-registry/redoubt/appliance/registry/bounds"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
)

// debugServer serves metrics and health on a loopback address.
type debugServer struct {
	mu     sync.Mutex
	addr   string
	server *http.Server
	socket net.Listener
}

// move makes addr the address, before the old one is given up. Empty is none.
func (d *debugServer) move(addr string, h http.Handler) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if addr == d.addr {
		return nil
	}
	var next *http.Server
	var l net.Listener
	if addr != "" {
		var err error
		l, err = metrics.Listen(addr)
		if err != nil {
			return err
		}
		next = &http.Server{Handler: h, ReadHeaderTimeout: bounds.Default().Header, IdleTimeout: bounds.Default().Idle}
		go func() { _ = next.Serve(l) }() // ends with Close
	}
	if d.server != nil {
		_ = d.server.Close() // nothing of a client's is lost
		_ = d.socket.Close() // which a server that has not begun to serve does not
	}
	d.addr, d.server, d.socket = addr, next, l
	return nil
}

func (d *debugServer) close() { _ = d.move("", nil) }
