package machine

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The two ends of the wire between a machine and its cloud.
const (
	CloudAddress   = "10.78.0.1"
	cloudMachine   = "10.78.0.2"
	cloudAddress6  = "fd00:78::1"
	cloudMachine6  = "fd00:78::2"
	cloudInterface = "cloud0" // the machine's
)

// Cloud is what is outside a machine: a network of its own, at the other end of a
// wire, in which a test listens. The machine's root cannot reach into it.
type Cloud struct {
	m  *Machine
	do chan func()
}

// Cloud connects the machine to a new network. It has CloudAddress, and those given,
// to which the machine is given a route.
func (m *Machine) Cloud(addresses ...string) *Cloud {
	m.t.Helper()
	c := &Cloud{m: m, do: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its network
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range c.do {
			f()
		}
	}()
	if err := <-made; err != nil {
		m.t.Fatalf("cannot make a network: %v", err)
	}
	m.t.Cleanup(func() { close(c.do) })
	c.ip("link", "set", "lo", "up")
	c.ip("link", "add", "machine0", "type", "veth", "peer", "name", cloudInterface, "netns", strconv.Itoa(m.leader))
	c.ip("addr", "add", CloudAddress+"/24", "dev", "machine0")
	c.ip("addr", "add", cloudAddress6+"/64", "dev", "machine0", "nodad")
	c.ip("link", "set", "machine0", "up")
	m.Run("ip", "addr", "add", cloudMachine+"/24", "dev", cloudInterface)
	m.Run("ip", "addr", "add", cloudMachine6+"/64", "dev", cloudInterface, "nodad")
	m.Run("ip", "link", "set", cloudInterface, "up")
	for _, a := range addresses {
		if strings.Contains(a, ":") {
			c.ip("addr", "add", a+"/128", "dev", "lo", "nodad")
			m.Run("ip", "route", "add", a+"/128", "via", cloudAddress6)
			continue
		}
		c.ip("addr", "add", a+"/32", "dev", "lo")
		m.Run("ip", "route", "add", a+"/32", "via", CloudAddress)
	}
	return c
}

// in runs f with the network.
func (c *Cloud) in(f func()) {
	done := make(chan struct{})
	c.do <- func() { defer close(done); f() }
	<-done
}

func (c *Cloud) ip(args ...string) {
	c.m.t.Helper()
	var out []byte
	var err error
	c.in(func() { out, err = exec.Command("ip", args...).CombinedOutput() })
	if err != nil {
		c.m.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Listen listens on an address of the cloud, until the test ends.
func (c *Cloud) Listen(address, port string) net.Listener {
	c.m.t.Helper()
	var l net.Listener
	var err error
	c.in(func() { l, err = net.Listen("tcp", net.JoinHostPort(address, port)) })
	if err != nil {
		c.m.t.Fatal(err)
	}
	c.m.t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP is Listen for datagrams.
func (c *Cloud) ListenUDP(address, port string) net.PacketConn {
	c.m.t.Helper()
	var p net.PacketConn
	var err error
	c.in(func() { p, err = net.ListenPacket("udp", net.JoinHostPort(address, port)) })
	if err != nil {
		c.m.t.Fatal(err)
	}
	c.m.t.Cleanup(func() { p.Close() })
	return p
}

// Forward makes what answers at an address of this host answer in the cloud, and
// returns the address there.
func (c *Cloud) Forward(to string) string {
	c.m.t.Helper()
	l := c.Listen(CloudAddress, "0")
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go splice(in, to)
		}
	}()
	return fmt.Sprint(l.Addr())
}

func splice(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(out, in)                //nolint:errcheck // either end may go
		out.(*net.TCPConn).CloseWrite() //nolint:errcheck,forcetypeassert // it is TCP
		close(done)
	}()
	io.Copy(in, out)               //nolint:errcheck // either end may go
	in.(*net.TCPConn).CloseWrite() //nolint:errcheck,forcetypeassert // it is TCP
	<-done
}
