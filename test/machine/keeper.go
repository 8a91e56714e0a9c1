// Package machine boots the appliance's root file system under systemd-nspawn: a
// real systemd 257 with the real units, in about a second and without a virtual
// machine. Tests push to it, break it and read what it says.
//
// Each machine has its own mount namespace, cgroup and network namespace; its root
// is an overlay in memory over the read-only root of the image, so that machines
// run side by side and nothing is left behind.
package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperEnv, when set, makes this program the keeper of one machine.
const keeperEnv = "REDOUBT_MACHINE_KEEPER"

// spec is what the test tells its keeper, as JSON in the file that keeperEnv names.
type spec struct {
	Name        string
	Image       Root   // what is booted
	Scratch     string // an empty directory for the mounts; the name space hides them
	Notify      string // the datagram socket that hears of the machine
	Files       []Plant
	Credentials map[string]string
	Interface   string // of the keeper's network, which the machine takes
}

// Plant is a file put into the machine before it boots, in the place of what the
// image has there.
type Plant struct {
	Path string
	Data []byte
	Mode os.FileMode
}

// Main is called first by TestMain: in a keeper it runs the machine and never
// returns, in a test it does nothing.
func Main() {
	path := os.Getenv(keeperEnv)
	if path == "" {
		return
	}
	var s spec
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil {
		err = keep(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "keeper:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// keep runs the machine until it ends, or until its standard input does.
func keep(s spec) error {
	// The parent-death signal below is bound to this thread.
	runtime.LockOSThread()
	group, err := isolate(s)
	if err != nil {
		return err
	}
	root, err := mountRoot(s)
	if err != nil {
		return err
	}
	for _, p := range s.Files {
		if err := plant(root, p); err != nil {
			return err
		}
	}
	// Not ignored: systemd-nspawn would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM)
	stop := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin) // any end will do
		close(stop)
	}()
	for err = errReboot; errors.Is(err, errReboot); {
		err = run(s, root, stop)
	}
	removeGroup(group)
	return err
}

// errReboot says that the machine wants to be booted again.
var errReboot = errors.New("reboot")

// rebootStatus is systemd-nspawn's, with --keep-unit, when the machine reboots.
const rebootStatus = 133

// run boots the machine once and waits for its end, or cuts its power at stop.
func run(s spec, root string, stop <-chan struct{}) error {
	// With bpf(2), systemd filters addresses as it does on a real machine.
	cmd := exec.Command("systemd-nspawn", "--quiet", "--directory="+root, "--machine="+s.Name,
		"--register=no", "--keep-unit", "--private-network", "--capability=CAP_BPF", "--system-call-filter=bpf",
		"--notify-ready=yes", "--link-journal=no", "--console=read-only", "--resolv-conf=off", "--timezone=off", "--boot")
	if s.Interface != "" {
		cmd.Args = append(cmd.Args, "--network-interface="+s.Interface)
	}
	for name, value := range s.Credentials {
		cmd.Args = append(cmd.Args, "--set-credential="+name+":"+value)
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NOTIFY_SOCKET=" + s.Notify}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start systemd-nspawn (apt install systemd-container): %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if cmd.ProcessState.ExitCode() == rebootStatus {
			return errReboot
		}
		return err
	case <-stop:
	}
	// The test has killed process 1; systemd-nspawn ends after that by itself.
	select {
	case err := <-ended:
		return err
	case <-time.After(5 * time.Second):
		cmd.Process.Kill() // it may have ended now
		return <-ended
	}
}

// isolate gives the keeper, which was started in a mount namespace of its own, a
// cgroup2 tree and an empty /run, and returns its control group.
func isolate(s spec) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("cannot make the mounts private: %w", err)
	}
	// A sysfs shows the network in which it was mounted. Where it can be written,
	// systemd-nspawn waits for a udev to know the interface.
	if s.Interface != "" {
		if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return "", fmt.Errorf("cannot mount /sys: %w", err)
		}
	}
	for unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH) == nil {
	}
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fmt.Errorf("cannot mount cgroup2: %w", err)
	}
	group := filepath.Join("/sys/fs/cgroup", s.Name)
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", fmt.Errorf("cannot make a control group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return "", fmt.Errorf("cannot enter the control group: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return "", fmt.Errorf("cannot mount /run: %w", err)
	}
	return group, nil
}

// removeGroup kills what is left in the machine's control groups and removes them,
// the deepest first.
func removeGroup(group string) {
	if err := os.WriteFile("/sys/fs/cgroup/cgroup.procs", []byte("0"), 0o644); err != nil {
		return
	}
	os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0o644) // the rounds below tell
	for range 100 {                                                       // the last processes may still be dying
		var dirs []string
		filepath.WalkDir(group, func(p string, d os.DirEntry, err error) error { // what cannot be read stays
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			unix.Rmdir(dirs[i]) // the next round tries again
		}
		if _, err := os.Stat(group); err != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// mountRoot mounts the image read-only and a writable layer in memory over it.
func mountRoot(s spec) (string, error) {
	if err := unix.Mount("tmpfs", s.Scratch, "tmpfs", 0, "mode=0755"); err != nil {
		return "", fmt.Errorf("cannot mount %s: %w", s.Scratch, err)
	}
	dir := func(name string) string { return filepath.Join(s.Scratch, name) }
	for _, name := range []string{"lower", "upper", "work", "root"} {
		if err := os.Mkdir(dir(name), 0o755); err != nil {
			return "", err
		}
	}
	lower := s.Image.Dir
	if lower == "" {
		lower = dir("lower")
		// mount(8) sets the loop device up and lets it go with the mount.
		opts := fmt.Sprintf("ro,noload,loop,offset=%d,sizelimit=%d", s.Image.Offset, s.Image.Size)
		if out, err := exec.Command("mount", "-n", "-t", "ext4", "-o", opts, s.Image.Disk, lower).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot mount the root of %s: %w: %s", s.Image.Disk, err, out)
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, dir("upper"), dir("work"))
	if err := unix.Mount("overlay", dir("root"), "overlay", 0, opts); err != nil {
		return "", fmt.Errorf("cannot mount an overlay: %w", err)
	}
	return dir("root"), nil
}

// plant writes one file into the machine.
func plant(root string, p Plant) error {
	path := filepath.Join(root, p.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, p.Data, p.Mode)
}
