// Package sandbox runs commands inside a directory as if it were the machine:
// in mount, PID, UTS and IPC namespaces of their own, after pivot_root, with
// /proc, /sys, /dev and /run mounted only there. Nothing is mounted on the
// host, and nothing that a command starts outlives it. It is Linux only and
// needs root.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// childName is the name under which the program runs itself for the inside.
const childName = "redoubt-sandbox-child"

// Bind makes a host directory visible inside, at Target.
type Bind struct {
	Source, Target string
	ReadOnly       bool
}

// Sandbox is a directory and what is visible in it.
type Sandbox struct {
	Root  string   // the directory that becomes /
	Binds []Bind   // in order; a missing Target is made
	Env   []string // NAME=value, besides PATH, HOME and LANG
}

// Streams are a command's standard streams; nil is empty or discarded.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// spec is what the outside tells the inside.
type spec struct {
	Sandbox
	Argv []string
}

// ExitError tells that a command ran and failed.
type ExitError struct{ Code int }

// Error names the exit code.
func (e ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// Run runs argv inside s and waits for it and for all that it started. When
// ctx ends, or when this process dies, everything inside is killed. A command
// that ran and failed is an ExitError.
func (s Sandbox) Run(ctx context.Context, streams Streams, argv ...string) error {
	arg, err := json.Marshal(spec{s, argv})
	if err != nil {
		return fmt.Errorf("cannot describe the sandbox: %w", err)
	}
	// The parent-death signal follows the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", string(arg))
	cmd.Args[0] = childName
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
	}, s.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.In, streams.Out, streams.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
		// A terminal's interrupt is the caller's to handle: it ends ctx.
		Setpgid: true,
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return ExitError{exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("cannot start the sandbox in %s: %w", s.Root, err)
	}
	return nil
}

// IsChild tells whether this process was started by Run to become the inside:
// a program that uses this package asks first of all, and calls Child.
func IsChild() bool { return len(os.Args) == 2 && os.Args[0] == childName }
