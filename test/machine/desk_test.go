package machine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/machine"
)

// desk is where the clients of a machine work: in its network, but with the
// host's programs and an /etc that is thrown away.
type desk struct {
	t   *testing.T
	dir string
	pid int // the process that keeps the mounts
}

const deskSetUp = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/etc"
mkdir "$1/etc/upper" "$1/etc/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work" /etc
printf '127.0.0.1 localhost\n' >/etc/hosts
name=$2
shift 2
for address; do printf '%s %s\n' "$address" "$name" >>/etc/hosts; done
rm -f /etc/docker/daemon.json
echo ready
exec cat
`

// newDesk sets a desk up beside the machine.
func newDesk(t *testing.T, s *site) *desk {
	t.Helper()
	return newDeskIn(t, s.Leader(), machine.Address)
}

// newDeskIn sets a desk up in the network of a process, where the registry's name
// has addresses.
func newDeskIn(t *testing.T, network int, addresses ...string) *desk {
	t.Helper()
	dir, err := os.MkdirTemp("", "redoubt-") // a short path: dockerd's sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, dir: dir}
	for _, name := range []string{"etc", "home"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Nobody logs in here; podman wants the file all the same.
	if err := os.WriteFile(filepath.Join(dir, "home/auth.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(network), "--net", "--",
		"sh", "-c", deskSetUp, "sh", dir, hostname}, addresses...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
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
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("cannot set the desk up: %s", stderr.String())
	}
	d.pid = cmd.Process.Pid
	return d
}

func (d *desk) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"--target", fmt.Sprint(d.pid), "--mount", "--net", "--wd=" + d.dir, "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+d.dir+"/home", "XDG_RUNTIME_DIR="+d.dir+"/home",
		"REGISTRY_AUTH_FILE="+d.dir+"/home/auth.json", "DOCKER_HOST=unix://"+d.dir+"/docker.sock",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR="+d.dir)
	return cmd
}

// try runs a command at the desk and returns what it printed.
func (d *desk) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := d.command(ctx, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// run is try for a command that must succeed.
func (d *desk) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// docker starts Debian's docker daemon, and with it containerd, at the desk.
func (d *desk) docker() {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.dir, "dockerd.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := d.command(context.Background(), "/usr/sbin/dockerd", "--data-root="+d.dir+"/docker", "--exec-root="+d.dir+"/exec",
		"--pidfile="+d.dir+"/docker.pid", "--host=unix://"+d.dir+"/docker.sock", "--storage-driver=vfs",
		"--bridge=none", "--iptables=false", "--ip-masq=false")
	cmd.Stdout, cmd.Stderr = log, log
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
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
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
		if _, err := d.try("docker", "version"); err == nil {
			return
		}
		select {
		case <-ended:
			d.t.Fatalf("dockerd ended:\n%s", d.daemonLog())
		case <-time.After(500 * time.Millisecond):
		}
	}
	d.t.Fatalf("dockerd does not answer:\n%s", d.daemonLog())
}

func (d *desk) daemonLog() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "dockerd.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}
