package stores

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/test/program"
)

// startWait is how long a store may take until it answers, on a busy machine.
const startWait = 90 * time.Second

// process is a program that runs.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start runs the store, on the same address and data as before, and waits until it
// answers. One that runs stays.
func (s *Store) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return
	}
	for _, name := range []string{"users", "certs"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	args, env := s.command(s)
	s.process = s.run(program.Tool(s.t, s.Name, s.Name), args, env)
	client := s.Client()
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	for {
		_, err := client.ListBuckets(ctx, nil)
		if err == nil {
			return
		}
		select {
		case <-s.process.ended:
			s.t.Fatalf("cannot start %s: it ended\n%s", s.Name, s.Log())
		case <-ctx.Done():
			s.t.Fatalf("cannot start %s: %v\n%s", s.Name, err, s.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// run starts a program that ends with this process at the latest.
func (s *Store) run(path string, args, env []string) *process {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = s.dir, append(environment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal follows the thread that forked, so it must live as long.
		runtime.LockOSThread()
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	return p
}

// environment is ours, without what would tell a store how to run.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		for _, prefix := range []string{"MINIO_", "VGW_", "ROOT_", "AWS_", "ADMIN_"} {
			if strings.HasPrefix(v, prefix) {
				return true
			}
		}
		return false
	})
}

// Freeze stops the store where it stands: its connections stay open and new ones
// are taken by the kernel, but nothing is answered until Thaw.
func (s *Store) Freeze() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	// A signal is only on its way: each thread stops when it comes to it.
	for deadline := time.Now().Add(startWait); !s.frozen(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("cannot freeze %s: it keeps running", s.Name)
		}
	}
}

// frozen says whether all of its threads stand still.
func (s *Store) frozen() bool {
	s.t.Helper()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(s.PID()) + "/task/*/stat")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// proc_pid_stat(5): the state follows the name, which stands in brackets.
		if state := text[bytes.LastIndexByte(text, ')')+2]; state != 'T' {
			return false
		}
	}
	return true
}

// Thaw lets it run again.
func (s *Store) Thaw() { s.signal(syscall.SIGCONT) }

// Kill ends it at once, as a power cut would. Its data stays; Start runs it again.
func (s *Store) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.cmd.Process.Kill() // it may have ended
	<-s.process.ended
	s.process = nil
}

// PID is the process that it is.
func (s *Store) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		s.t.Fatalf("%s does not run", s.Name)
	}
	return s.process.cmd.Process.Pid
}

func (s *Store) signal(sign syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.PID(), sign); err != nil {
		s.t.Fatalf("cannot signal %s: %v", s.Name, err)
	}
}

// Log is what it printed.
func (s *Store) Log() string {
	data, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}
