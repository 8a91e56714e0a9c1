package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// setupFailed is the exit code of an inside that could not be made.
const setupFailed = 125

// Child makes the inside and becomes the command. It does not return.
func Child() {
	err := child()
	fmt.Fprintln(os.Stderr, "sandbox:", err)
	os.Exit(setupFailed)
}

func child() error {
	var s spec
	if err := json.Unmarshal([]byte(os.Args[1]), &s); err != nil {
		return fmt.Errorf("cannot read its description: %w", err)
	}
	if err := mountAll(s.Sandbox); err != nil {
		return err
	}
	if err := pivot(s.Root); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("localhost")); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	unix.Umask(0o022)
	bin, err := exec.LookPath(s.Argv[0])
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", s.Argv[0], err)
	}
	// Only the three standard streams go in.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("cannot close descriptors: %w", err)
	}
	return fmt.Errorf("cannot run %s: %w", bin, unix.Exec(bin, s.Argv, os.Environ()))
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func mountAll(s Sandbox) error {
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	mounts := []mount{
		{"", "", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{s.Root, ".", "", unix.MS_BIND, ""},
		{"proc", "proc", "proc", safe, ""},
		{"sysfs", "sys", "sysfs", safe | unix.MS_RDONLY, ""},
		{"tmpfs", "dev", "tmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
		{"tmpfs", "run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	}
	for _, b := range s.Binds {
		mounts = append(mounts, mount{b.Source, b.Target, "", unix.MS_BIND, ""})
		if b.ReadOnly {
			mounts = append(mounts, mount{"", b.Target, "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""})
		}
	}
	for _, m := range mounts {
		target := "/"
		if m.target != "" {
			target = filepath.Join(s.Root, m.target)
			if err := os.MkdirAll(target, 0o755); err != nil {
				return fmt.Errorf("cannot make a mount point: %w", err)
			}
		}
		if err := unix.Mount(m.source, target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s on %s: %w", m.source, target, err)
		}
	}
	if err := devices(filepath.Join(s.Root, "dev")); err != nil {
		return err
	}
	return resolver(s.Root)
}

// devices fills dev, a fresh tmpfs, with what programs count on.
func devices(dev string) error {
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		p := filepath.Join(dev, name)
		if err := unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("cannot make %s: %w", p, err)
		}
		if err := os.Chmod(p, 0o666); err != nil {
			return fmt.Errorf("cannot make %s: %w", p, err)
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("cannot make a device link: %w", err)
		}
	}
	for name, m := range map[string]mount{
		"pts": {"devpts", "", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		"shm": {"tmpfs", "", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		p := filepath.Join(dev, name)
		if err := os.Mkdir(p, 0o755); err != nil {
			return fmt.Errorf("cannot make %s: %w", p, err)
		}
		if err := unix.Mount(m.source, p, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s: %w", p, err)
		}
	}
	return nil
}

// resolver puts the host's resolver configuration where the machine's
// /etc/resolv.conf, a link into /run, points. A host without one is fine.
func resolver(root string) error {
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // names then do not resolve inside either
	}
	dir := filepath.Join(root, "run/systemd/resolve")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stub-resolv.conf"), data, 0o644); err != nil {
		return fmt.Errorf("cannot write the resolver configuration: %w", err)
	}
	return nil
}

// pivot makes root, a mount point, the root of this mount namespace and lets
// go of the old one (pivot_root(2), "pivot_root(".", ".")").
func pivot(root string) error {
	if err := unix.Chdir(root); err != nil {
		return fmt.Errorf("cannot enter %s: %w", root, err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot make %s the root: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot let go of the host's root: %w", err)
	}
	return unix.Chdir("/")
}
