package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// ErrPanic is a guest's kernel that gave up. Under TCG that happens once in a long
// while for no fault of the image's, so it is worth another try.
var ErrPanic = errors.New("the guest's kernel panicked")

// panicked is what a kernel says last.
var panicked = regexp.MustCompile(`Kernel panic - not syncing: [^\r\n]*`)

// noKernel is what a firmware or a boot loader says that finds nothing to start.
var noKernel = regexp.MustCompile(`[^\r\n]*cannot load the kernel[^\r\n]*|No bootable device[^\r\n]*|BdsDxe: No bootable option[^\r\n]*`)

// escape is a terminal's control sequence.
var escape = regexp.MustCompile("\x1b(\\][^\x07\x1b]*(\x07|\x1b\\\\)?|\\[[0-9;?=!]*[a-zA-Z]|[()][A-Z0-9]|[a-zA-Z78=>])")

// stages are a boot's, the last first, each with what the console shows of it.
var stages = []struct {
	name string
	sign *regexp.Regexp
}{
	{"the machine is up", regexp.MustCompile(`(?m)^\S+ login: `)},
	{"redoubt applies the configuration", regexp.MustCompile(`(?i)redoubt-apply|redoubt\[|redoubt: `)},
	{"cloud-init reads the user-data", regexp.MustCompile(`cloud-init\[|Cloud-init v`)},
	{"systemd starts", regexp.MustCompile(`systemd\[1\]|Welcome to|\[  OK  \]`)},
	{"the kernel runs", regexp.MustCompile(`Linux version|\[ +\d+\.\d{6}\]|Loading Linux|EFI stub`)},
}

// Console is what the guest has printed on its serial port since it was started,
// or since the last Reset or Mark, without a terminal's control sequences.
func (v *VM) Console() string {
	f, err := os.Open(v.path(serialFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, v.boot, 1<<40))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(escape.ReplaceAllString(string(text), ""), "\r", "")
}

// Stage says in words how far the boot is.
func (v *VM) Stage() string {
	text := v.Console()
	for _, s := range stages {
		if s.sign.MatchString(text) {
			return s.name
		}
	}
	return "the firmware and the kernel start"
}

// Health answers what is fatally wrong with the guest: QEMU has ended, the kernel
// has panicked, or there is none.
func (v *VM) Health() error {
	if line := panicked.FindString(v.Console()); line != "" {
		return fmt.Errorf("%w: %s", ErrPanic, line)
	}
	if line := noKernel.FindString(v.Console()); line != "" {
		return fmt.Errorf("the guest does not boot: %s", strings.TrimSpace(line))
	}
	if !v.Running() {
		return fmt.Errorf("qemu has ended: %s says why", v.path(stderrFile))
	}
	return nil
}

// Await polls until done answers true or an error, the guest dies, or ctx ends. The
// error then says what the guest was doing.
func (v *VM) Await(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := v.Health(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not happen: %w: %s; the console's last line: %s", what, ctx.Err(), v.Stage(), v.LastLine())
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// AwaitConsole waits until the console shows the pattern and answers the match.
func (v *VM) AwaitConsole(ctx context.Context, pattern *regexp.Regexp) (match string, err error) {
	err = v.Await(ctx, "the console's "+pattern.String(), func() (bool, error) {
		match = pattern.FindString(v.Console())
		return match != "", nil
	})
	return match, err
}

// LastLine is the last line on the console that is not empty.
func (v *VM) LastLine() string {
	text := strings.TrimSpace(v.Console())
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
