//go:build faults

package faults

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	user     = "faults"
	password = "of the test"
)

// server is a registry in a process of its own, on a socket that the test holds as
// systemd would.
type server struct {
	url     string
	dir     string
	socket  *os.File
	cmd     *exec.Cmd
	ended   chan struct{}
	storage string // the section of registry.yml
}

// keys are what a bucket is opened with; empty for a directory.
type keys struct{ access, secret string }

// serve starts a registry.
func serve(t *testing.T, storage string, k keys) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{url: "http://" + l.Addr().String(), dir: t.TempDir(), storage: storage}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		t.Fatal("no TCP")
	}
	if s.socket, err = tcp.File(); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`version: 0.1
log: {level: warn, accesslog: {disabled: true}}
http: {addr: %q, secret: faults, relativeurls: true, draintimeout: 20s}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
auth: {redoubt: {realm: faults, path: %s}}
storage:
%s  delete: {enabled: true}
  redirect: {disable: true}
  cache: {blobdescriptor: inmemory, blobdescriptorsize: 10000}
`, l.Addr(), s.htpasswd(), storage)
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string]string{s.config(): text, s.htpasswd(): user + ":" + string(hash) + "\n"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.authorize(t, k)
	s.run(t)
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
		s.socket.Close()
		if t.Failed() {
			t.Logf("the registry's log ends with\n%s", s.log(t))
		}
	})
	return s
}

func (s *server) htpasswd() string { return filepath.Join(s.dir, "htpasswd") }

func (s *server) config() string { return filepath.Join(s.dir, "registry.yml") }

// authorize writes the credential that the service would be given.
func (s *server) authorize(t *testing.T, k keys) {
	t.Helper()
	text := fmt.Sprintf(`{"accessKey":%q,"secretKey":%q}`, k.access, k.secret)
	if err := os.WriteFile(filepath.Join(s.dir, "redoubt.s3"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *server) run(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(self)
	s.cmd.Env = append(os.Environ(), serveEnv+"="+s.config(), "LISTEN_FDS=1", "LISTEN_FDNAMES=registry",
		"CREDENTIALS_DIRECTORY="+s.dir, "OTEL_TRACES_EXPORTER=none")
	s.cmd.ExtraFiles = []*os.File{s.socket}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // the log says why
		close(ended)
	}(s.cmd, s.ended)
	client := &http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(s.url + "/v2/")
		if err == nil {
			response.Body.Close()
			return
		}
		select {
		case <-s.ended:
			t.Fatalf("the registry ended:\n%s", s.log(t))
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the registry does not answer: %v\n%s", err, s.log(t))
		}
	}
}

// restart ends it after the requests in flight and starts it again, as the machine
// does for changed credentials. Who connects in between waits in the socket.
func (s *server) restart(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	s.run(t)
}

// log is the end of what it printed.
func (s *server) log(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
