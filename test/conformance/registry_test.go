//go:build conformance

package conformance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/program"
)

// startWait is how long the registry may take until it answers, on a busy machine.
const startWait = time.Minute

// userData is a machine's. What a machine has elsewhere is in a directory of the
// test's, see registry.configure.
const userData = `#cloud-config
redoubt:
  hostname: localhost
  listen: {httpsPort: %d, httpPort: 0}
  tls: {mode: "off"}
  cache: {type: memory}
  auth: {users: [{name: conformance, password: %q}]}
  storage: %s
`

// registry is the program that is shipped, which serves what it renders itself for
// user-data.
type registry struct {
	address  string
	password string
	dir      string
}

// build makes the program.
func build(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "redoubt")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/redoubt")
	cmd.Dir = program.Repository(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build redoubt: %v\n%s", err, out)
	}
	return path
}

// serve runs the program on a storage, as user-data has it, until the test ends.
func serve(t *testing.T, redoubt, storage string) *registry {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatal("no TCP")
	}
	socket, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	r := &registry{address: l.Addr().String(), password: rand.Text(), dir: t.TempDir()}
	config := r.configure(t, redoubt, storage, l.Addr())
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, redoubt, "serve", "--config", config}
	for _, flag := range []string{"maintenance", "renewal", "storage", "storage-record", "challenges"} {
		args = append(args, "--"+flag, filepath.Join(r.dir, "none", flag))
	}
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=registry", "OTEL_TRACES_EXPORTER=none",
		"CREDENTIALS_DIRECTORY="+filepath.Join(filepath.Dir(config), "credentials"))
	cmd.ExtraFiles = []*os.File{socket}
	r.run(t, cmd)
	return r
}

// configure has the program render its configuration, and moves it from a machine's
// directories into the test's.
func (r *registry) configure(t *testing.T, redoubt, storage string, address net.Addr) (path string) {
	t.Helper()
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP")
	}
	document, out := filepath.Join(r.dir, "user-data"), filepath.Join(r.dir, "root")
	if err := os.WriteFile(document, fmt.Appendf(nil, userData, tcp.Port, r.password, storage), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := exec.Command(redoubt, "render", "--out", out, document).CombinedOutput(); err != nil {
		t.Fatalf("cannot render the configuration: %v\n%s", err, text)
	}
	path = filepath.Join(out, "run", "redoubt", "registry.yml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	images := filepath.Join(r.dir, "images")
	if err := os.Mkdir(images, 0o755); err != nil { // systemd makes it on a machine
		t.Fatal(err)
	}
	moved := strings.NewReplacer(
		"/run/redoubt/", filepath.Dir(path)+"/",
		"/var/lib/redoubt/registry", images,
		"addr: 127.0.0.1:5001", "addr: 127.0.0.1:0", // of the metrics
	).Replace(string(text))
	if err := os.WriteFile(path, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run starts the registry, waits until it asks for a login, and ends it with the test.
func (r *registry) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(filepath.Join(r.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The death signal follows the thread that forked, so it must live as long.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the log says why
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("the registry's log ends with\n%s", r.log(t))
		}
	})
	client := &http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(startWait); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://" + r.address + "/v2/")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusUnauthorized {
				return
			}
			err = errors.New(response.Status)
		}
		select {
		case <-ended:
			t.Fatal("the registry ended")
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the registry is not ready: %v", err)
		}
	}
}

// log is the end of what it printed.
func (r *registry) log(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
