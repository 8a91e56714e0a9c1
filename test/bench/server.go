package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	user     = "bench"
	password = "bench's password"
	// respawn is how long a crashed server stays away: the unit's RestartSec.
	respawn = 200 * time.Millisecond
)

// lab is where the servers run.
type lab struct {
	dir      string
	programs map[kind]string
	made     int
}

// kinds are those of these that there is a program of, in the order of their turns.
func (l *lab) kinds(of ...kind) []kind {
	return slices.DeleteFunc(of, func(k kind) bool { return l.programs[k] == "" })
}

// kind is which registry a server is.
type kind string

const (
	stock   kind = "stock"
	redoubt kind = "redoubt"
	zot     kind = "zot"
)

// setup is what differs between the measurements.
type setup struct {
	login bool   // all ask for a login; redoubt always does
	tls   bool   // https
	redis string // the socket of the descriptor cache; none if empty
	store *place // a bucket; a directory if nil
	held  bool   // the listening socket is held by another, as systemd does
}

// server is a running registry.
type server struct {
	kind   kind
	url    string
	config string
	setup  setup
	path   string // the program
	roots  *x509.CertPool
	held   *os.File
	cmd    *exec.Cmd
	ended  chan struct{}
}

// start runs a registry with an empty storage of its own.
func (l *lab) start(ctx context.Context, k kind, s setup) (*server, error) {
	l.made++
	dir := filepath.Join(l.dir, fmt.Sprintf("%s-%d", k, l.made))
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	v := &server{kind: k, url: "http://" + address, setup: s, path: l.programs[k], config: filepath.Join(dir, "registry.yml")}
	if s.tls {
		v.url = "https://" + address
		if v.roots, err = certify(dir); err != nil {
			return nil, err
		}
	}
	if s.held {
		if v.held, err = listener.(*net.TCPListener).File(); err != nil {
			return nil, err
		}
	}
	listener.Close()
	if err := v.configure(dir, address); err != nil {
		return nil, err
	}
	if err := v.run(); err != nil {
		return nil, err
	}
	return v, v.ready(ctx)
}

// run starts the program. It ends with this process.
func (v *server) run() error {
	args := []string{"serve", v.config}
	if v.kind == redoubt {
		args = append(args[:1], "--config", v.config, "--maintenance", v.config+".none")
	}
	v.cmd = exec.Command(v.path, args...)
	// Without this the stock registry tries to export traces, and says for each one
	// that it cannot: its default, but not its best.
	v.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if v.held != nil {
		// systemd's protocol wants the process's own id in LISTEN_PID, see sd_listen_fds(3).
		v.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, v.path}, args...)...)
		v.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "LISTEN_FDS=1", "LISTEN_FDNAMES=registry")
		v.cmd.ExtraFiles = []*os.File{v.held}
	}
	log, err := os.OpenFile(v.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	v.cmd.Stdout, v.cmd.Stderr = log, log
	if err := v.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", v.kind, err)
	}
	v.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(v.cmd, v.ended)
	return nil
}

func (v *server) ready(ctx context.Context) error {
	client := newClient(v, false)
	defer client.CloseIdleConnections()
	client.Timeout = time.Second
	for range 200 {
		if resp, err := client.do(ctx, http.MethodGet, "/v2/", nil); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.ended:
			text, _ := os.ReadFile(v.config + ".log")
			return fmt.Errorf("cannot start %s: %s", v.kind, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("cannot start %s: it does not answer", v.kind)
}

// stop ends the server and waits for it.
func (v *server) stop() {
	_ = v.cmd.Process.Kill()
	<-v.ended
	if v.held != nil {
		v.held.Close()
	}
}

// crash ends it as a fault would, and starts it again as systemd would. It answers how
// many ms after the start a request was answered that had come while nobody was there.
func (v *server) crash(ctx context.Context, c *client) (float64, error) {
	_ = v.cmd.Process.Kill()
	<-v.ended
	answered := make(chan error, 1)
	go func() { answered <- c.manifest(ctx) }()
	time.Sleep(respawn)
	began := time.Now()
	if err := v.run(); err != nil {
		return 0, err
	}
	err := <-answered
	return time.Since(began).Seconds() * 1000, err
}

// reload makes it read its configuration again. The stock registry cannot: it is
// restarted, after the requests in flight.
func (v *server) reload() error {
	if v.kind == redoubt {
		return v.cmd.Process.Signal(syscall.SIGHUP)
	}
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-v.ended
	return v.run()
}

// cpu is the processor time that it has used, by the clock of the process:
// clock_getcpuclockid(3).
func (v *server) cpu() (time.Duration, error) {
	var at unix.Timespec
	if err := unix.ClockGettime(int32(^v.cmd.Process.Pid<<3|2), &at); err != nil {
		return 0, fmt.Errorf("cannot read the clock of a process: %w", err)
	}
	return time.Duration(at.Nano()), nil
}

// memory is a field of proc_pid_status(5) in MB: VmRSS is what it has, VmHWM the most
// that it has had.
func (v *server) memory(field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), field+":")
	var kib float64
	_, err = fmt.Sscan(after, &kib)
	return kib * 1024 / 1e6, err
}
