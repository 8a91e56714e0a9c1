package clients

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Forward leads an address of the desk's network to one of the host, until the
// test ends.
func (d *Desk) Forward(from, to string) {
	d.t.Helper()
	l, err := d.Listen(from)
	if err != nil {
		d.t.Fatalf("cannot listen in the clients' network: %v", err)
	}
	d.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, to)
		}
	}()
}

// Listen opens a listener in the desk's network; it keeps to that network wherever
// it is used from.
func (d *Desk) Listen(address string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is in the other network from here on: it ends with the goroutine
		// that never unlocks it.
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", d.pid)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		l, err = net.Listen("tcp", address)
	}()
	<-done
	return l, err
}

func relay(c net.Conn, to string) {
	defer c.Close()
	up, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() {
		_, _ = io.Copy(up, c)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, up)
}
