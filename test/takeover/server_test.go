//go:build integration

package takeover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // registers itself
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"     // registers itself
	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/test/program"
)

const (
	startWait = time.Minute // until a registry answers, on a busy machine
	user      = "nora"
	password  = "a password of nora's"
)

// server is a registry that runs until stop, or until the test ends.
type server struct {
	address string
	stop    func()
}

// build makes the program that is shipped.
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

// configure is what the stock registry reads. It has no logins, and hence no password.
func configure(address, storage string) string {
	return fmt.Sprintf("version: 0.1\nlog: {level: error}\nhttp: {addr: %q, secret: takeover}\nstorage:\n%s"+
		"  delete: {enabled: true}\n  redirect: {disable: true}\n", address, storage)
}

// two is the stock registry of version 2, as Debian has it.
func two(t *testing.T, storage string) *server {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(program.FreePort(t, "127.0.0.1")))
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, configure(address, storage))
	cmd := exec.Command(debian, "serve", config)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }) // the bucket's keys are in its file
	return run(t, cmd, address, http.StatusOK)
}

// three is the stock registry of version 3: distribution's own handlers and drivers.
func three(t *testing.T, storage string) *server {
	t.Helper()
	t.Setenv("AWS_CA_BUNDLE", "")
	c, err := configuration.Parse(strings.NewReader(configure("127.0.0.1:0", storage)))
	if err != nil {
		t.Fatal(err)
	}
	logrus.SetLevel(logrus.FatalLevel) // of the whole process: its log says nothing that a test needs
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(handlers.NewApp(ctx, c))
	stop := sync.OnceFunc(func() {
		s.Close()
		cancel()
	})
	t.Cleanup(stop)
	return &server{address: s.Listener.Addr().String(), stop: stop}
}

// redoubt runs the program that is shipped, on what it renders for user-data. Directories
// of a machine are in one of the test's; images is that of the images.
func redoubt(t *testing.T, path, storage, images string) *server {
	t.Helper()
	dir := t.TempDir()
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
	_, port, _ := net.SplitHostPort(l.Addr().String())
	document, out := filepath.Join(dir, "user-data"), filepath.Join(dir, "root")
	write(t, document, fmt.Sprintf("#cloud-config\nredoubt:\n  hostname: localhost\n  listen: {httpsPort: %s, httpPort: 0}\n  tls: {mode: \"off\"}\n"+
		"  cache: {type: memory}\n  auth: {users: [{name: %s, password: %q}]}\n%s", port, user, password, storage))
	if text, err := exec.Command(path, "render", "--out", out, document).CombinedOutput(); err != nil {
		t.Fatalf("cannot render the configuration: %v\n%s", err, text)
	}
	config := filepath.Join(out, "run", "redoubt", "registry.yml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, strings.NewReplacer("/run/redoubt/", filepath.Dir(config)+"/", "/var/lib/redoubt/registry", images,
		"addr: 127.0.0.1:5001", "addr: 127.0.0.1:0").Replace(string(text)))
	args := []string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path, "serve", "--config", config}
	for _, flag := range []string{"maintenance", "renewal", "storage", "storage-record", "challenges"} {
		args = append(args, "--"+flag, filepath.Join(dir, "none", flag))
	}
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=registry", "OTEL_TRACES_EXPORTER=none",
		"CREDENTIALS_DIRECTORY="+filepath.Join(filepath.Dir(config), "credentials"))
	cmd.ExtraFiles = []*os.File{socket}
	return run(t, cmd, l.Addr().String(), http.StatusUnauthorized)
}

// run starts a registry and waits until it answers with a status.
func run(t *testing.T, cmd *exec.Cmd, address string, ready int) *server {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal follows the thread that forked
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
	s := &server{address: address, stop: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(startWait):
			_ = cmd.Process.Kill()
			<-ended
			t.Error("a registry did not stop")
		}
	}}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if data, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s: %s", cmd.Path, data)
		}
	})
	client := &http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(startWait); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://" + address + "/v2/")
		if err == nil {
			response.Body.Close()
			if response.StatusCode == ready {
				return s
			}
			err = errors.New(response.Status)
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %v", cmd.Path, err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready: %v", cmd.Path, err)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
