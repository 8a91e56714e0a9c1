package image_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is where the clients live: a network and a mount namespace of their own.
// In it registry.test is 192.0.2.10, whose ports 443 and 80 lead to the guest, and
// /etc is a throw-away. The host's network and its /etc stay as they are.
type world struct {
	dir   string
	pid   int // the process that keeps the namespaces
	certs string
}

// address is registry.test's in the clients' world (RFC 5737).
const address = "192.0.2.10"

// setUp runs in the new namespaces. Its standard input ends with the test, and so
// does it.
const setUp = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/etc"
mkdir "$1/etc/upper" "$1/etc/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
ip link set lo up
ip address add ` + address + `/32 dev lo
printf '127.0.0.1 localhost\n` + address + ` ` + host + `\n' >/etc/hosts
rm -f /etc/docker/daemon.json
echo ready
exec cat
`

// newWorld makes a world whose clients reach the guest, if there is one.
func newWorld(t *testing.T, g *guest) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("cannot make the clients' network: the test must run as root")
	}
	// A short path: dockerd's sockets lie in it.
	dir, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, certs: filepath.Join(dir, "certs")}
	for _, name := range []string{"etc", "home", "certs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", setUp, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot make the clients' network: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove the clients' files: %v", err)
		}
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("cannot make the clients' network: %s", stderr.String())
	}
	w.pid = cmd.Process.Pid
	if g != nil {
		w.forward(t, 443, g.https)
		w.forward(t, 80, g.http)
	}
	return w
}

// forward leads a port of registry.test to one of the host's loopback.
func (w *world) forward(t *testing.T, from, to int) {
	t.Helper()
	l, err := w.listen(fmt.Sprintf("%s:%d", address, from))
	if err != nil {
		t.Fatalf("cannot listen in the clients' network: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, fmt.Sprintf("127.0.0.1:%d", to))
		}
	}()
}

// listen opens a listener in the world's network; it keeps to that network
// wherever it is used from.
func (w *world) listen(address string) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is in the other network from here on: it ends with the goroutine
		// that never unlocks it.
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", w.pid)); err != nil {
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

// command is one that runs in the world.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(w.pid), "--mount", "--net", "--wd=" + w.dir, "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+w.dir+"/home", "XDG_RUNTIME_DIR="+w.dir+"/home",
		"REGISTRY_AUTH_FILE="+w.dir+"/home/auth.json", "DOCKER_HOST=unix://"+w.dir+"/docker.sock",
		// Debian's client, not another of the same name before it in PATH.
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin", "TMPDIR="+w.dir)
	return cmd
}

// run runs a command in the world, with a text on its standard input, and answers
// what it printed.
func (w *world) try(t *testing.T, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	cmd := w.command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// run is try for a command that must succeed.
func (w *world) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.try(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// trust gives the clients the machine's CA, where each of them looks for it.
func (w *world) trust(t *testing.T, ca string) {
	t.Helper()
	file := filepath.Join(w.certs, "ca.crt")
	if err := os.WriteFile(file, []byte(ca), 0o644); err != nil {
		t.Fatal(err)
	}
	w.run(t, "sh", "-ec", "for d in docker containers; do mkdir -p /etc/$d/certs.d/"+host+
		" && cp "+file+" /etc/$d/certs.d/"+host+"/; done")
}

// docker starts Debian's docker daemon in the world, with all its files in the
// world's directory, until the test ends.
func (w *world) docker(t *testing.T) {
	t.Helper()
	log, err := os.Create(filepath.Join(w.dir, "dockerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.command(context.WithoutCancel(t.Context()), "/usr/sbin/dockerd", "--data-root="+w.dir+"/docker", "--exec-root="+w.dir+"/exec",
		"--pidfile="+w.dir+"/docker.pid", "--host=unix://"+w.dir+"/docker.sock",
		"--bridge=none", "--iptables=false", "--ip-masq=false")
	cmd.Stdout, cmd.Stderr = log, log
	ended := keep(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		log.Close()
	})
	for range 120 {
		if _, err := w.try(t, "", "docker", "version"); err == nil {
			return
		}
		select {
		case <-ended:
			t.Fatalf("dockerd ended: %s", tail(log.Name()))
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatalf("dockerd does not answer: %s", tail(log.Name()))
}

// keep starts a daemon that dies with the test's process, and answers when it has
// ended.
func keep(t *testing.T, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal follows the thread
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return ended
}

func tail(path string) string {
	text, _ := os.ReadFile(path)
	return string(text[max(0, len(text)-2000):])
}
