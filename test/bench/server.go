package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	user     = "bench"
	password = "bench's password"
	// cost is bcrypt's, as htpasswd -B -C 10 makes it.
	cost = 10
	// respawn is how long a crashed server stays away: the unit's RestartSec.
	respawn = 200 * time.Millisecond
)

// lab is where the servers run.
type lab struct {
	dir, stock, redoubt string
	made                int
}

// kind is which of the two a server is.
type kind string

const (
	stock   kind = "stock"
	redoubt kind = "redoubt"
)

// setup is what differs between the measurements.
type setup struct {
	login bool   // stock asks for a login; redoubt always does
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
	v := &server{kind: k, url: "http://" + address, setup: s, path: l.stock, config: filepath.Join(dir, "registry.yml")}
	if k == redoubt {
		v.path = l.redoubt
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

// configure writes the registry's configuration: the same for both, but for who
// checks the passwords.
func (v *server) configure(dir, address string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		return err
	}
	htpasswd := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(htpasswd, fmt.Appendf(nil, "%s:%s\n", user, hash), 0o600); err != nil {
		return err
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: error, accesslog: {disabled: true}}
http: {addr: %q, secret: bench, draintimeout: 60s}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
`, address)
	cache := ""
	if v.setup.redis != "" {
		cache = "\n  cache: {blobdescriptor: redis}"
		text += fmt.Sprintf("redis: {addrs: [%q]%s}\n", v.setup.redis, map[kind]string{
			redoubt: ", maxretries: -1, dialtimeout: 20ms, readtimeout: 30ms, writetimeout: 30ms",
		}[v.kind])
	}
	text += fmt.Sprintf("storage:\n%s  delete: {enabled: true}\n  redirect: {disable: true}%s\n", v.setup.store.section(dir), cache)
	switch {
	case v.kind == redoubt:
		text += fmt.Sprintf("auth: {redoubt: {realm: bench, path: %s}}\n", htpasswd)
	case v.setup.login:
		text += fmt.Sprintf("auth: {htpasswd: {realm: bench, path: %s}}\n", htpasswd)
	}
	return os.WriteFile(v.config, []byte(text), 0o600)
}

// run starts the program. It ends with this process.
func (v *server) run() error {
	args := []string{"serve", v.config}
	if v.kind == redoubt {
		args = []string{"serve", "--config", v.config, "--maintenance", v.config + ".none"}
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
	client := &http.Client{Timeout: time.Second}
	for range 200 {
		if resp, err := client.Get(v.url + "/v2/"); err == nil {
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

// crash ends it as a fault would, and starts it again as systemd would.
func (v *server) crash() error {
	_ = v.cmd.Process.Kill()
	<-v.ended
	time.Sleep(respawn)
	return v.run()
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

// cpu is the processor time that it has used.
func (v *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// proc_pid_stat(5): fields 14 and 15, in ticks of 10 ms, counted after the name.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// peak is the most memory that it has had, in MB.
func (v *server) peak() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	var kib float64
	_, err = fmt.Sscan(after, &kib)
	return kib * 1024 / 1e6, err
}
