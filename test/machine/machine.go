package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bootDeadline is for a machine that hangs; a boot takes seconds.
const bootDeadline = 3 * time.Minute

// Machine is a running appliance.
type Machine struct {
	t       testing.TB
	keeper  *exec.Cmd
	stdin   io.Closer
	console string // path of what it printed
	leader  int    // process 1 of the machine, as the host numbers it
	notify  *net.UnixConn
	up      chan int // process 1 of the machine, at each boot
	ended   chan struct{}
}

var serial atomic.Int64

// Boot starts a machine and waits until systemd says that it is up. The machine
// ends with the test, and its console is printed if the test failed.
func Boot(t testing.TB, files ...Plant) *Machine {
	t.Helper()
	return BootWith(t, nil, files...)
}

// BootWith is Boot with credentials, which whoever starts a virtual machine hands
// to its systemd.
func BootWith(t testing.TB, credentials map[string]string, files ...Plant) *Machine {
	t.Helper()
	return boot(t, spec{Files: files, Credentials: credentials}, 0)
}

// boot starts a machine that is told of in s, in the network of a process if that
// is not 0.
func boot(t testing.TB, s spec, network int) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this tier boots machines with systemd-nspawn: run it as root")
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	root, err := FindRoot(repo)
	if err != nil {
		t.Fatal(err)
	}
	// A socket's path holds 107 bytes: t.TempDir can be longer.
	dir, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &Machine{t: t, console: filepath.Join(dir, "console"), ended: make(chan struct{})}
	s.Name, s.Image = fmt.Sprintf("redoubt-%d-%d", os.Getpid(), serial.Add(1)), root
	s.Scratch, s.Notify = filepath.Join(dir, "m"), filepath.Join(dir, "n")
	if err := os.Mkdir(s.Scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	if m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.Notify, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.notify.Close() })
	m.up = make(chan int, 16)
	go m.listen()
	if err := m.start(s, network); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	start := time.Now()
	if err := m.awaitReady(); err != nil {
		t.Fatalf("%v\nconsole:\n%s", err, m.Console())
	}
	t.Logf("up after %v", time.Since(start).Round(time.Millisecond))
	return m
}

// start runs this program as the machine's keeper.
func (m *Machine) start(s spec, network int) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	console, err := os.Create(m.console)
	if err != nil {
		return err
	}
	defer console.Close()
	specFile := filepath.Join(filepath.Dir(m.console), "spec")
	if err := os.WriteFile(specFile, text, 0o600); err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	m.keeper = exec.Command(program)
	if network != 0 {
		m.keeper = exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", network), "--", program)
	}
	m.keeper.Env = append(os.Environ(), keeperEnv+"="+specFile)
	m.keeper.Stdout, m.keeper.Stderr = console, console
	m.keeper.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	m.stdin, err = m.keeper.StdinPipe()
	if err != nil {
		return err
	}
	if err := m.keeper.Start(); err != nil {
		return fmt.Errorf("cannot start the keeper: %w", err)
	}
	go func() {
		m.keeper.Wait() // the console says why
		close(m.ended)
	}()
	return nil
}

// listen reads the sd_notify messages of systemd-nspawn until the test ends, for its
// systemd waits until somebody has. Of each boot it tells process 1 when the machine is up.
func (m *Machine) listen() {
	buf := make([]byte, 4096)
	for leader := 0; ; {
		n, err := m.notify.Read(buf)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(buf[:n])) {
			line = strings.TrimSpace(line)
			if pid, ok := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); ok {
				leader, _ = strconv.Atoi(pid) // then nobody is told, and the test says so
			}
			if line == "READY=1" && leader != 0 {
				m.up <- leader
				leader = 0 // a reload ends with the same words
			}
		}
	}
}

// awaitReady waits until the machine is up.
func (m *Machine) awaitReady() error {
	select {
	case m.leader = <-m.up:
		return nil
	case <-m.ended:
		return errors.New("the machine ended while it booted")
	case <-time.After(bootDeadline):
		return fmt.Errorf("the machine was not up after %s", bootDeadline)
	}
}

// Reboot boots the machine again, with the disk that it has, and waits until it is
// up. Copies of m that For made are of no use afterwards.
func (m *Machine) Reboot() {
	m.t.Helper()
	if out, err := m.TryRun("systemctl", "reboot", "--no-block"); err != nil {
		m.t.Fatalf("reboot: %v\n%s", err, out)
	}
	m.leader = 0
	if err := m.awaitReady(); err != nil {
		m.t.Fatalf("reboot: %v\nconsole:\n%s", err, m.Console())
	}
}

// Kill cuts the machine's power. Its disk is gone with it.
func (m *Machine) Kill() {
	m.t.Helper()
	if err := unix.Kill(m.leader, unix.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	m.stdin.Close() // the keeper ends what is left
}

// answered is a line of the access log for a request that went well.
var answered = regexp.MustCompile(`(?m)^.*"msg":"request".*"status":[23].*\n`)

// stop cuts the machine's power and prints what it said if the test failed.
func (m *Machine) stop() {
	if m.t.Failed() && m.leader != 0 {
		out, _ := m.TryRun("journalctl", "--namespace=*", "--no-pager", "--output=short-monotonic", "--lines=20000")
		out = answered.ReplaceAllString(out, "") // they are most of it
		m.t.Logf("journal:\n%s", out)
	}
	// Its disk is gone with it: there is nothing to end in good order.
	if m.leader != 0 {
		unix.Kill(m.leader, unix.SIGKILL) // it may have ended now
	}
	m.stdin.Close()
	select {
	case <-m.ended:
	case <-time.After(30 * time.Second):
		m.keeper.Process.Kill() // it may have ended now
		<-m.ended
	}
}

// Leader is process 1 of the machine, as the host numbers it.
func (m *Machine) Leader() int { return m.leader }

// For returns the same machine for the use of a subtest.
func (m *Machine) For(t testing.TB) *Machine {
	sub := *m
	sub.t = t
	return &sub
}

// Console returns what the machine has printed on its console.
func (m *Machine) Console() string {
	data, err := os.ReadFile(m.console)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// TryRun runs a command in the machine as root and returns its standard output
// and error together.
func (m *Machine) TryRun(args ...string) (string, error) { return m.run(nil, args...) }

// Run is TryRun for a command that must succeed.
func (m *Machine) Run(args ...string) string {
	m.t.Helper()
	out, err := m.run(nil, args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (m *Machine) run(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	enter := []string{"--target", strconv.Itoa(m.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--root", "--wd", "--",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Stdin = stdin
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	return out.String(), err
}

// Write writes a file in the machine, in place of what is there.
func (m *Machine) Write(path, data string, mode os.FileMode) {
	m.t.Helper()
	script := `mkdir -p "$(dirname "$1")" && cat >"$1.part" && chmod "$2" "$1.part" && mv "$1.part" "$1"`
	if out, err := m.run(strings.NewReader(data), "sh", "-ec", script, "sh", path, fmt.Sprintf("%o", mode)); err != nil {
		m.t.Fatalf("cannot write %s: %v\n%s", path, err, out)
	}
}

// Dial connects to an address as a process in the machine would, whatever the
// host's own network.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return within(m.leader, func() (net.Conn, error) {
		// An address needs no lookup, so that the dial stays on this thread.
		return (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
	})
}

// Path is where the host finds a path of the machine that no symbolic link leads to.
func (m *Machine) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.leader, path)
}

// Property reads one property of a unit.
func (m *Machine) Property(unit, name string) string {
	m.t.Helper()
	return m.Run("systemctl", "show", "--value", "--property="+name, unit)
}

// Eventually waits until ok is true. The deadline is for a machine that hangs.
func (m *Machine) Eventually(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	m.t.Fatalf("never: %s", what)
}
