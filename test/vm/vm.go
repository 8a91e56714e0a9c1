// Package vm boots a disk image in QEMU: for `make up` and for the tests.
//
// A machine is a directory. It holds a copy of the image, the disk that the
// guest writes to, its NoCloud medium, its firmware's variables, what its serial
// console printed and the sockets it is steered by. The image itself is only
// ever read.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Names of a machine's files, inside its directory.
const (
	serialFile  = "serial.log"
	stderrFile  = "qemu.log"
	diskFile    = "disk.qcow2"
	baseFile    = "image.qcow2"
	originFile  = "image.txt"
	seedFile    = "seed.iso"
	varsFile    = "vars.fd"
	pidFile     = "qemu.pid"
	monitorSock = "qmp.sock"
	shellSock   = "shell.sock"
)

// Firmware is what starts the guest.
type Firmware string

// The three ways in which the image boots.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secureboot"
)

// Forward leads a TCP port of the host's loopback to one of the guest.
type Forward struct{ Host, Guest int }

// Machine says what to boot. The zero values of Firmware, Accel, Memory and CPUs
// are BIOS, TCG, 1024 and 2.
type Machine struct {
	Dir      string // the machine's directory, made if it is missing
	Image    string // a qcow2, used when Dir has no disk yet
	Firmware Firmware
	Accel    Accel
	Memory   int // MiB
	CPUs     int
	Forwards []Forward
	// Shell opens a root shell for Sh on the guest's second serial port. Nothing in
	// the image is changed: the unit is handed in as a systemd credential.
	Shell bool
	// Detached lets the guest outlive this process. Otherwise it is killed with it.
	Detached bool
	// Volatile lets the disk's writes stay in the host's memory: faster, and lost when
	// the host fails. They survive whatever happens to the guest.
	Volatile bool
}

// VM is a running machine.
type VM struct {
	Machine
	started time.Time
	pid     int
	exited  chan struct{} // closed when QEMU has ended; nil for a VM found by Attach
	boot    int64         // where in the serial log this boot begins
}

// Start boots the machine. It waits until QEMU runs, not until the guest is up.
func (m Machine) Start(ctx context.Context) (*VM, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	v := &VM{Machine: m, started: time.Now(), exited: make(chan struct{}), boot: size(m.path(serialFile))}
	cmd, err := m.command()
	if err != nil {
		return nil, err
	}
	if err := v.run(cmd); err != nil {
		return nil, err
	}
	if err := v.greet(ctx); err != nil {
		_ = syscall.Kill(v.pid, syscall.SIGKILL)
		<-v.exited
		return nil, err
	}
	return v, nil
}

// Attach finds the machine that an earlier process started in dir. It answers
// fs.ErrNotExist when none runs there.
func Attach(dir string) (*VM, error) {
	v := &VM{Machine: Machine{Dir: dir}}
	text, err := os.ReadFile(v.path(pidFile))
	if err != nil {
		return nil, err
	}
	v.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", v.path(pidFile), err)
	}
	// The process id may long be another's: only an answer on its socket proves it.
	if _, err := v.monitor("query-status"); err != nil {
		return nil, fmt.Errorf("no machine runs in %s: %w", dir, fs.ErrNotExist)
	}
	return v, nil
}

// check finds what would make QEMU fail, and says it better.
func (m Machine) check() error {
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("cannot find %s: run make bootstrap", tool)
		}
	}
	if _, err := os.Stat(m.path(diskFile)); err == nil {
		if _, err := Attach(m.Dir); err == nil {
			return fmt.Errorf("a machine already runs in %s", m.Dir)
		}
	} else if _, err := os.Stat(m.Image); err != nil {
		return fmt.Errorf("cannot read the image: %w", err)
	}
	for _, f := range m.Forwards {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", f.Host))
		if err != nil {
			return fmt.Errorf("cannot use port %d of 127.0.0.1: %w", f.Host, errors.Unwrap(errors.Unwrap(err)))
		}
		l.Close()
	}
	return nil
}

// run starts QEMU. A machine that is not detached is killed by the kernel when
// this process ends, however it ends.
func (v *VM) run(cmd *exec.Cmd) error {
	stderr, err := os.Create(v.path(stderrFile))
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: v.Detached, Setpgid: !v.Detached}
	if !v.Detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	started := make(chan error)
	go func() {
		// The death signal follows the thread that forked, so it must live as long.
		runtime.LockOSThread()
		defer close(v.exited)
		err := cmd.Start()
		if err == nil {
			v.pid = cmd.Process.Pid
			err = os.WriteFile(v.path(pidFile), fmt.Appendf(nil, "%d\n", v.pid), 0o644)
		}
		started <- err
		_ = cmd.Wait() // how QEMU ended is in its log
	}()
	return <-started
}

// greet waits until QEMU answers on its monitor, and tells why when it does not.
func (v *VM) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if _, err := v.monitor("query-status"); err == nil {
			return nil
		}
		select {
		case <-v.exited:
			text, _ := os.ReadFile(v.path(stderrFile))
			lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
			return fmt.Errorf("cannot start qemu: %s", lines[len(lines)-1])
		case <-ctx.Done():
			return fmt.Errorf("cannot start qemu: no answer on its monitor: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Running tells whether QEMU still runs.
func (v *VM) Running() bool {
	if v.exited != nil {
		select {
		case <-v.exited:
			return false
		default:
			return true
		}
	}
	_, err := v.monitor("query-status")
	return err == nil
}

// Age is how long ago the machine was started.
func (v *VM) Age() time.Duration { return time.Since(v.started).Round(time.Second) }

// Reset cuts the guest's power for a moment: all that it held only in its memory
// is gone.
func (v *VM) Reset() error {
	v.boot = size(v.path(serialFile))
	_, err := v.monitor("system_reset")
	return err
}

// Mark begins a new boot for the console's readers: call it before the guest is
// told to reboot.
func (v *VM) Mark() { v.boot = size(v.path(serialFile)) }

// PowerOff presses the guest's power button and waits until it is off.
func (v *VM) PowerOff(ctx context.Context) error {
	if _, err := v.monitor("system_powerdown"); err != nil {
		return err
	}
	for v.Running() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot power off the machine in %s: %w", v.Dir, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// Kill ends QEMU at once, as if the machine's plug was pulled.
func (v *VM) Kill() error {
	if !v.Running() {
		return nil
	}
	if _, err := v.monitor("quit"); err != nil {
		return err
	}
	for range 100 {
		if !v.Running() {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("cannot end qemu, process %d: it does not answer", v.pid)
}

func (m Machine) path(name string) string { return filepath.Join(m.Dir, name) }

// size is a file's, or nought.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
