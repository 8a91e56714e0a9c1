package vm

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// guestThatSaid is a machine that runs no more, with this on its console.
func guestThatSaid(t *testing.T, text string) *VM {
	t.Helper()
	v := &VM{Machine: Machine{Dir: t.TempDir()}, exited: make(chan struct{})}
	if err := os.WriteFile(v.path(serialFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestConsole(t *testing.T) {
	v := guestThatSaid(t, "\x1b[H\x1b[J\x1b[1;1H\x1b[!p\x1b]104\x07\x1b[?7h\x1b[6nWelcome to \x1b[1mDebian\x1b[0m\r\n\r\n")
	if got, want := v.Console(), "Welcome to Debian\n\n"; got != want {
		t.Errorf("the console is %q, want %q", got, want)
	}
	if got, want := v.LastLine(), "Welcome to Debian"; got != want {
		t.Errorf("the last line is %q, want %q", got, want)
	}
	v.Mark()
	if got := v.Console(); got != "" {
		t.Errorf("the console of the next boot is %q, want nothing yet", got)
	}
}

func TestStage(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "the firmware and the kernel start",
		"[    0.000000] Linux version 6.12": "the kernel runs",
		"[    3.1] x\nWelcome to Debian":    "systemd starts",
		"[  9.0] cloud-init[399]: Cloud-init v. 25.1.4 running 'init-local'": "cloud-init reads the user-data",
		"m login: [ 138.3] cloud-init[399]: Cloud-init v. 25.1.4 finished":   "the machine is up",
	} {
		if got := guestThatSaid(t, text).Stage(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestHealth(t *testing.T) {
	v := guestThatSaid(t, "x\nKernel panic - not syncing: Fatal exception in interrupt\r\n")
	if err := v.Health(); !errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "Fatal exception") {
		t.Errorf("a panic is %v", err)
	}
	v = guestThatSaid(t, "error: no such disk.\nRedoubt 1.0: cannot load the kernel from the disk\n")
	if err := v.Health(); err == nil || errors.Is(err, ErrPanic) || !strings.Contains(err.Error(), "cannot load the kernel") {
		t.Errorf("a missing kernel is %v", err)
	}
	v = guestThatSaid(t, "all is well\n")
	if err := v.Health(); err != nil {
		t.Errorf("a running guest is %v", err)
	}
	close(v.exited)
	if err := v.Health(); err == nil {
		t.Error("an ended QEMU is taken for health")
	}
}
