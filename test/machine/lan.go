package machine

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// LanAddress is the test's own on a Lan.
const LanAddress = "10.79.0.1"

// Lan is a network of its own, with several machines and what they need around
// them. Nothing of it is seen from elsewhere.
type Lan struct {
	t   testing.TB
	pid int // of a process that keeps the network
}

// NewLan makes a network, which ends with the test. It needs root.
func NewLan(t testing.TB) *Lan {
	t.Helper()
	keeper := exec.Command("cat") // until its input ends
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatalf("cannot make a network (this needs root): %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = keeper.Wait() // it has nothing to say
	})
	l := &Lan{t: t, pid: keeper.Process.Pid}
	l.ip("link", "set", "lo", "up")
	l.ip("link", "add", "lan0", "type", "bridge", "forward_delay", "0")
	l.ip("addr", "add", LanAddress+"/24", "dev", "lan0")
	l.ip("link", "set", "lan0", "up")
	return l
}

// PID is a process of the network, for nsenter(1).
func (l *Lan) PID() int { return l.pid }

func (l *Lan) ip(args ...string) {
	l.t.Helper()
	enter := []string{fmt.Sprintf("--net=/proc/%d/ns/net", l.pid), "ip"}
	if out, err := exec.Command("nsenter", append(enter, args...)...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Address is that of a machine, which has a number from 1 on.
func (l *Lan) Address(number int) string { return fmt.Sprintf("10.79.0.%d", 10+number) }

func wire(number int) (outer, inner string) {
	return fmt.Sprintf("port%d", number), fmt.Sprintf("node%d", number)
}

// Boot starts a machine on the network, and waits until it is up.
func (l *Lan) Boot(number int, files ...Plant) *Machine {
	l.t.Helper()
	outer, inner := wire(number)
	l.ip("link", "add", outer, "type", "veth", "peer", "name", inner)
	l.ip("link", "set", outer, "master", "lan0", "up")
	text := "[Match]\nName=" + inner + "\n[Network]\nAddress=" + l.Address(number) + "/24\nIPv6DuplicateAddressDetection=0\n"
	files = append(files, Plant{Path: "/etc/systemd/network/05-test.network", Data: []byte(text), Mode: 0o644})
	return boot(l.t, spec{Files: files, Interface: inner}, l.pid)
}

// Cut takes a machine off the network: nothing reaches it, and nobody tells it.
func (l *Lan) Cut(number int) {
	outer, _ := wire(number)
	l.ip("link", "set", outer, "nomaster")
}

// Join puts it back.
func (l *Lan) Join(number int) {
	outer, _ := wire(number)
	l.ip("link", "set", outer, "master", "lan0")
}

// Dial connects to an address as a client on the network would.
func (l *Lan) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return within(l.pid, func() (net.Conn, error) {
		// An address needs no lookup, so that the dial stays on this thread.
		return (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
	})
}

// Forward takes connections to an address on the network to where dial leads.
func (l *Lan) Forward(address string, dial func(ctx context.Context) (net.Conn, error)) {
	l.t.Helper()
	listener, err := within(l.pid, func() (net.Listener, error) { return net.Listen("tcp", address) })
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.t.Cleanup(func() {
		cancel()
		listener.Close()
	})
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			go forward(ctx, in, dial)
		}
	}()
}

func forward(ctx context.Context, in net.Conn, dial func(ctx context.Context) (net.Conn, error)) {
	defer in.Close()
	out, err := dial(ctx)
	if err != nil {
		return // as the client sees it, there is nobody
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			io.Copy(pair[0], pair[1]) // an end is an end
			if half, ok := pair[0].(*net.TCPConn); ok {
				half.CloseWrite() // it may be closed
			}
		})
	}
	both.Wait()
}

// within runs f in the network of a process.
func within[T any](pid int, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is in that network from here on: never unlocked, it ends with
		// this goroutine.
		runtime.LockOSThread()
		var r result
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			r.err = fmt.Errorf("cannot enter the network: %w", err)
		} else {
			r.value, r.err = f()
		}
		done <- r
	}()
	r := <-done
	return r.value, r.err
}
