package vm

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"time"
)

// Accel is how the guest's instructions are carried out.
type Accel string

// KVM is the processor's own virtualization, TCG is QEMU's translation: ten times
// slower, and it works everywhere.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

// kernelRuns is a sign of life of a guest's kernel, or of what it started.
var kernelRuns = regexp.MustCompile(`Linux version|\[ +\d+\.\d{6}\]|systemd\[1\]|Welcome to|\[  OK  \]|cloud-init`)

// patience is how long a guest gets under KVM to show a sign of life.
const patience = 10 * time.Second

// ChooseAccel answers KVM where a guest really boots with it, else TCG, and why.
// A /dev/kvm proves nothing: on some hosts a guest hangs before its kernel. So the
// image is booted, on a disk that is thrown away, until its kernel says something.
// The environment variable ACCEL overrides.
func ChooseAccel(ctx context.Context, image string) (choice Accel, why string, err error) {
	switch forced := Accel(os.Getenv("ACCEL")); forced {
	case KVM, TCG:
		return forced, "ACCEL says so", nil
	case "":
	default:
		return "", "", fmt.Errorf("cannot use ACCEL=%s: it is kvm or tcg", forced)
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return TCG, "no KVM here (" + err.Error() + ")", nil
	}
	f.Close()
	dir, err := os.MkdirTemp("", "redoubt-kvm-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	v, err := Machine{Dir: dir, Image: image, Accel: KVM, Volatile: true}.Start(ctx)
	if err != nil {
		return TCG, "QEMU does not start with KVM here (ACCEL=kvm shows why)", nil
	}
	defer v.Kill()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := v.AwaitConsole(ctx, kernelRuns); err != nil {
		return TCG, fmt.Sprintf("KVM does not boot a guest here: its kernel said nothing in %s", patience), nil
	}
	return KVM, fmt.Sprintf("KVM booted a guest's kernel in %.1f s", time.Since(v.started).Seconds()), nil
}
