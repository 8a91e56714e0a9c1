// Package power cuts the power of a machine that publishes certificates, at
// random moments, and looks at what its disk then holds.
package power

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/machine"
)

const (
	diskSize = 64 << 20
	patience = 3 * time.Minute // for a guest that hangs; it is up in seconds
)

// guest is a machine: the image's kernel, one program, one ext4 disk.
type guest struct {
	t    *testing.T
	dir  string
	qemu *exec.Cmd
}

func start(t *testing.T, arguments string) *guest {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this tier mounts disks: run it as root")
	}
	g := &guest{t: t, dir: t.TempDir()}
	g.kernel()
	g.initrd()
	disk, err := os.Create(g.path("disk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Truncate(diskSize), disk.Close()); err != nil {
		t.Fatal(err)
	}
	g.command("mkfs.ext4", "-q", "disk")
	g.qemu = exec.Command("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", "tcg", "-cpu", "qemu64", "-m", "384", "-kernel", "kernel", "-initrd", "initrd",
		"-append", "console=ttyS0 quiet panic=-1 "+arguments,
		"-drive", "if=virtio,format=raw,file=disk,cache=writeback", "-device", "virtio-rng-pci",
		"-chardev", "file,id=serial,path=serial", "-serial", "chardev:serial")
	g.qemu.Dir = g.dir
	g.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	g.qemu.Stderr = &said
	if err := g.qemu.Start(); err != nil {
		t.Fatalf("cannot start QEMU (make bootstrap): %v", err)
	}
	t.Cleanup(func() {
		_ = g.qemu.Process.Kill()
		_ = g.qemu.Wait()
		if t.Failed() {
			t.Logf("console:\n%s\n%s", g.console(), said.String())
		}
	})
	return g
}

func (g *guest) path(name string) string { return filepath.Join(g.dir, name) }

func (g *guest) command(name string, arguments ...string) {
	g.t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Dir = g.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("%s %v: %v\n%s", name, arguments, err, out)
	}
}

// kernel takes the kernel and the disk's driver from the built image.
func (g *guest) kernel() {
	g.t.Helper()
	repo, err := filepath.Abs("../..")
	if err != nil {
		g.t.Fatal(err)
	}
	root, err := machine.FindRoot(repo)
	if err != nil {
		g.t.Fatal(err)
	}
	esp, err := machine.Partition(root.Disk, "esp")
	if err != nil {
		g.t.Fatal(err)
	}
	g.command("mcopy", "-i", fmt.Sprintf("%s@@%d", root.Disk, esp.Offset), "::/redoubt/linux_*", "kernel")
	mount := g.path("root")
	if err := os.Mkdir(mount, 0o755); err != nil {
		g.t.Fatal(err)
	}
	g.command("mount", "-o", fmt.Sprintf("ro,noload,loop,offset=%d,sizelimit=%d", root.Offset, root.Size), root.Disk, mount)
	defer g.command("umount", mount)
	drivers, err := filepath.Glob(mount + "/usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko*")
	if err != nil || len(drivers) != 1 {
		g.t.Fatalf("the image has the drivers %q", drivers)
	}
	g.command("sh", "-c", `case $1 in *.xz) xz -dc "$1" ;; *) cat "$1" ;; esac >virtio_blk.ko`, "sh", drivers[0])
}

// initrd holds the one program and the driver, in the form that the kernel's
// documentation calls newc.
func (g *guest) initrd() {
	g.t.Helper()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", g.path("init"), "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		g.t.Fatalf("%v\n%s", err, out)
	}
	out, err := os.Create(g.path("initrd"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer out.Close()
	for i, name := range []string{"init", "virtio_blk.ko", ""} {
		var data []byte
		if name != "" {
			if data, err = os.ReadFile(g.path(name)); err != nil {
				g.t.Fatal(err)
			}
		}
		if err := entry(out, i+1, name, data); err != nil {
			g.t.Fatal(err)
		}
	}
}

// entry writes a file, or the end of the archive for no name.
func entry(w io.Writer, inode int, name string, data []byte) error {
	mode := 0o100755
	if name == "" {
		name, mode = "TRAILER!!!", 0
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	pad := func(n int) string { return strings.Repeat("\x00", (4-n%4)%4) }
	_, err := io.WriteString(w, head+pad(len(head))+string(data)+pad(len(data)))
	return err
}

func (g *guest) console() string {
	data, _ := os.ReadFile(g.path("serial")) // none before the first word
	return string(data)
}

// acknowledged is the last generation that the guest was told is written.
func (g *guest) acknowledged() int {
	g.t.Helper()
	text := g.console()
	if strings.Contains(text, "guest failed:") {
		g.t.Fatal(text)
	}
	last := 0
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "published %d", &n); err == nil && strings.HasSuffix(line, "\n") {
			last = n
		}
	}
	return last
}

// await waits until the guest has published n generations.
func (g *guest) await(n int) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); g.acknowledged() < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("the guest has not published %d generations", n)
		}
	}
}

// cut copies the disk as it is at this moment, between two instructions of the
// machine, which is what a power cut now would leave. It returns what the guest
// had been told by then.
func (g *guest) cut() (disk string, acknowledged int) {
	g.t.Helper()
	if err := g.qemu.Process.Signal(syscall.SIGSTOP); err != nil {
		g.t.Fatal(err)
	}
	acknowledged = g.acknowledged()
	disk = g.path("cut")
	g.command("cp", "--sparse=always", "disk", disk)
	if err := g.qemu.Process.Signal(syscall.SIGCONT); err != nil {
		g.t.Fatal(err)
	}
	return disk, acknowledged
}

// after mounts a disk as the next boot does, and has look look at it.
func (g *guest) after(disk string, look func(dir string)) {
	g.t.Helper()
	dir := g.path("mounted")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	g.command("mount", "-o", "loop", disk, dir)
	defer g.command("umount", dir)
	look(dir)
}
