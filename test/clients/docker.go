package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// answerWait bounds one question to dockerd while it starts.
const answerWait = 2 * time.Minute

// Docker starts Debian's docker daemon at the desk, and with it containerd, until
// the test ends. All its files are in the desk's directory; args are more of its
// arguments.
func (d *Desk) Docker(args ...string) {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.Dir, "dockerd.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := d.Command(context.Background(), append([]string{"/usr/sbin/dockerd", "--data-root=" + d.Dir + "/docker", "--exec-root=" + d.Dir + "/exec",
		"--pidfile=" + d.Dir + "/docker.pid", "--host=unix://" + d.Dir + "/docker.sock",
		"--bridge=none", "--iptables=false", "--ip-masq=false"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	ended := Keep(d.t, cmd)
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
		if d.dockerAnswers() {
			return
		}
		select {
		case <-ended:
			d.t.Fatalf("dockerd ended:\n%s", d.DockerLog())
		case <-time.After(500 * time.Millisecond):
		}
	}
	d.t.Fatalf("dockerd does not answer:\n%s", d.DockerLog())
}

func (d *Desk) dockerAnswers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerWait)
	defer cancel()
	return d.Command(ctx, "docker", "version").Run() == nil
}

// DockerLog is the end of what dockerd has said.
func (d *Desk) DockerLog() string {
	text, err := os.ReadFile(filepath.Join(d.Dir, "dockerd.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// Keep starts a program that dies with the test's process, and answers when it has
// ended.
func Keep(t testing.TB, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
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
		t.Fatal(err)
	}
	return ended
}
