// Package clients gives tests a place for real clients of a registry: Debian's
// docker, podman, skopeo and ctr, in a network of a test's choice, with an /etc and
// a home that are thrown away. The host's own stay as they are.
package clients

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Desk is where clients work.
type Desk struct {
	Dir string // theirs; its path is short, since dockerd's sockets lie in it
	t   testing.TB
	pid int // the process that keeps the mounts and the network
}

// Options are what a desk has around it.
type Options struct {
	// Network is a process whose network the desk is in. With 0 the desk has one
	// of its own.
	Network int
	// Name is the registry's, which leads to Addresses. In a network of its own
	// they are the desk's.
	Name      string
	Addresses []string
}

// setUp runs in the new namespaces. Its standard input ends with the test, and so
// does it.
const setUp = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/etc"
mkdir "$1/etc/upper" "$1/etc/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
printf '127.0.0.1 localhost\n' >/etc/hosts
[ "$2" != own ] || ip link set lo up
own=$2 name=$3
shift 3
for address; do
	printf '%s %s\n' "$address" "$name" >>/etc/hosts
	[ "$own" != own ] || ip address add "$address/32" dev lo
done
rm -f /etc/docker/daemon.json
echo ready
exec cat
`

// New sets a desk up, until the test ends. It needs root.
func New(t testing.TB, o Options) *Desk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("cannot set the clients' desk up: the test must run as root")
	}
	dir, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc", "home"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Nobody logs in here; podman wants the file all the same.
	if err := os.WriteFile(filepath.Join(dir, "home/auth.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", append([]string{"-c", setUp, "sh", dir, "own", o.Name}, o.Addresses...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	if o.Network != 0 {
		cmd = exec.Command("nsenter", append([]string{"--target", fmt.Sprint(o.Network), "--net", "--",
			"sh", "-c", setUp, "sh", dir, "theirs", o.Name}, o.Addresses...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	}
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
		t.Fatalf("cannot set the clients' desk up: %v", err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it has nothing to say
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove the clients' files: %v", err)
		}
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("cannot set the clients' desk up: %s", stderr.String())
	}
	return &Desk{Dir: dir, t: t, pid: cmd.Process.Pid}
}

// Command is one that runs at the desk, with the desk's directory as its own.
func (d *Desk) Command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(d.pid), "--mount", "--net", "--wd=" + d.Dir, "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+d.Dir+"/home", "XDG_RUNTIME_DIR="+d.Dir+"/home",
		"REGISTRY_AUTH_FILE="+d.Dir+"/home/auth.json", "DOCKER_HOST=unix://"+d.Dir+"/docker.sock",
		// Debian's client, not another of the same name before it in PATH.
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin", "TMPDIR="+d.Dir)
	return cmd
}
