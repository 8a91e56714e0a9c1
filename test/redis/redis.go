// Package redis runs Debian's Redis for tests, on a loopback address of its own.
package redis

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// Owner is what a server belongs to and ends with: a test, or a program.
type Owner interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Options say what the server is like.
type Options struct {
	TLS  bool     // no port without TLS
	Args []string // more of its command line, such as --requirepass
}

// Server is a redis-server.
type Server struct {
	Address string // host:port
	CA      string // file with the CA of its certificate, for TLS

	dir  string
	args []string
	cmd  *exec.Cmd

	ended chan struct{}
}

// Start runs a server until its owner ends.
func Start(t Owner, o Options) *Server {
	t.Helper()
	b := make([]byte, 3)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	// Nobody else's: a port that was free a moment ago would not do.
	host := fmt.Sprintf("127.%d.%d.%d", 1+b[0]%254, b[1], 1+b[2]%254)
	s := &Server{Address: host + ":6379", dir: t.TempDir()}
	s.args = []string{"--bind", host, "--save", "", "--dir", s.dir, "--protected-mode", "no"}
	if o.TLS {
		s.certify(t, host)
	} else {
		s.args = append(s.args, "--port", "6379")
	}
	s.args = append(s.args, o.Args...)
	t.Cleanup(func() {
		if s.cmd != nil {
			s.Resume(t)
			s.Stop()
		}
	})
	s.Run(t)
	return s
}

// certify makes a CA and a certificate for host.
func (s *Server) certify(t Owner, host string) {
	t.Helper()
	ca, err := cert.MakeAuthority(filepath.Join(s.dir, "ca"), 1, []string{host}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssuePair([]string{host}, time.Now(), 24*time.Hour, rand.Reader)
	if err == nil {
		err = cert.Publish(filepath.Join(s.dir, "certificates"), -1, issued)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.CA = filepath.Join(s.dir, "ca/ca.crt")
	pair := filepath.Join(s.dir, "certificates/current")
	s.args = append(s.args, "--port", "0", "--tls-port", "6379", "--tls-auth-clients", "no",
		"--tls-cert-file", pair+"/tls.crt", "--tls-key-file", pair+"/tls.key")
}

// Run starts the server again after Stop.
func (s *Server) Run(t Owner) {
	t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	var log bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("cannot start redis-server: %v (apt install redis-server)", err)
	}
	ended := make(chan struct{})
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(ended) }(s.cmd)
	s.ended = ended
	deadline := time.After(30 * time.Second)
	for {
		c, err := net.Dial("tcp", s.Address)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-ended:
		case <-deadline:
		}
		s.Stop()
		t.Fatalf("redis-server does not answer: %v\n%s", err, log.String())
	}
}

// Stop kills the server.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill() // it may be gone
	<-s.ended
}

// Pause freezes the server.
func (s *Server) Pause(t Owner) { s.signal(t, syscall.SIGSTOP) }

// Resume ends Pause.
func (s *Server) Resume(t Owner) { s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t Owner, n syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(n); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// Do runs one command, as redis-cli does, and returns its answer.
func (s *Server) Do(t Owner, args ...string) string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Address)
	all := []string{"-h", host, "-p", port, "-e"}
	if s.CA != "" {
		all = append(all, "--tls", "--cacert", s.CA)
	}
	out, err := exec.Command("redis-cli", append(all, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Dir is where the server keeps its files.
func (s *Server) Dir() string { return s.dir }
