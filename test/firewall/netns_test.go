//go:build integration

package firewall_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// probeEnv, when set, makes this program a client: it asks for what it names, as
// NETWORK ADDRESS, and prints the answer.
const probeEnv = "REDOUBT_FIREWALL_PROBE"

func TestMain(m *testing.M) {
	if what := os.Getenv(probeEnv); what != "" {
		if err := probe(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	m.Run()
}

const greeting = "metadata"

func probe(what string) error {
	network, address, _ := strings.Cut(what, " ")
	c, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second)) // a socket has deadlines
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	answer := make([]byte, len(greeting))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if string(answer) != greeting {
		return fmt.Errorf("got %q", answer)
	}
	return nil
}

// netns is a network of its own, with the metadata services of all clouds in it.
type netns struct {
	t  *testing.T
	do chan func()
}

func newNetns(t *testing.T) *netns {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	n := &netns{t: t, do: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its network
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.do {
			f()
		}
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(n.do) })
	n.must("ip", "link", "set", "lo", "up")
	return n
}

// in runs f with the network.
func (n *netns) in(f func()) {
	done := make(chan struct{})
	n.do <- func() { defer close(done); f() }
	<-done
}

func (n *netns) run(cmd *exec.Cmd) (string, error) {
	var out []byte
	var err error
	n.in(func() { out, err = cmd.CombinedOutput() })
	return string(out), err
}

func (n *netns) must(args ...string) string {
	n.t.Helper()
	out, err := n.run(exec.Command(args[0], args[1:]...))
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// host gives the network an address, at which the ports answer over TCP and UDP.
func (n *netns) host(address string, ports ...string) {
	n.t.Helper()
	args := []string{"ip", "addr", "add", address, "dev", "lo"}
	if strings.Contains(address, ":") {
		args = append(args, "nodad")
	}
	n.must(args...)
	for _, port := range ports {
		n.in(func() {
			l, err := net.Listen("tcp", net.JoinHostPort(address, port))
			if err != nil {
				n.t.Error(err)
				return
			}
			n.t.Cleanup(func() { l.Close() })
			go serveTCP(l)
			p, err := net.ListenPacket("udp", net.JoinHostPort(address, port))
			if err != nil {
				n.t.Error(err)
				return
			}
			n.t.Cleanup(func() { p.Close() })
			go serveUDP(p)
		})
	}
}

func serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, greeting) // the client tells
		c.Close()
	}
}

func serveUDP(p net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		_, from, err := p.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.WriteTo([]byte(greeting), from) // the client tells
		}
	}
}

// who is a process that asks.
type who struct {
	name string
	sys  *syscall.SysProcAttr
}

func user(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// userns is root in a user namespace that uid has made.
func userns(uid int) *syscall.SysProcAttr {
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one,
		Credential: &syscall.Credential{NoSetGroups: true}}
}

// ask is what who gets from an address.
func (n *netns) ask(w who, network, address, port string) error {
	n.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{probeEnv + "=" + network + " " + net.JoinHostPort(address, port)}
	cmd.SysProcAttr = w.sys
	out, err := n.run(cmd)
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return errors.New(strings.TrimSpace(out))
	}
	if err != nil {
		n.t.Fatalf("%s: %v", w.name, err)
	}
	return nil
}
