//go:build integration

package storagecheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

// TestMain runs the tests in a mount namespace of their own: they mount and unmount, as
// root. It is also the process that looks as somebody else.
func TestMain(m *testing.M) {
	if root := os.Getenv("REDOUBT_TEST_LOOK"); root != "" {
		look := Probe(context.Background(), Directory{Root: root, ID: "other"}, health.Look{}, true)
		if err := json.NewEncoder(os.Stdout).Encode(look); err != nil {
			panic(err)
		}
		return
	}
	if os.Getenv("REDOUBT_TEST_MOUNTS") != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_MOUNTS=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// disk is a file system of its own.
func disk(t *testing.T, dir, options string) {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o755))
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, options))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // a test may have done so
}

// newDirectory is a store on a disk of its own, which remembers it elsewhere.
func newDirectory(t *testing.T, options string) Directory {
	t.Helper()
	dir := t.TempDir()
	d := Directory{Root: filepath.Join(dir, "data"), Record: filepath.Join(dir, "storage.json"), ID: "this"}
	disk(t, d.Root, options)
	return d
}

// want holds that a look finds grade, with words in what it says and a reason.
func want(t *testing.T, place Place, grade health.Grade, words, reason string) health.Look {
	t.Helper()
	began := time.Now()
	look := Probe(t.Context(), place, health.Look{}, true)
	if took := time.Since(began); took > 20*time.Second { // ten, on a busy machine
		t.Errorf("the look took %v", took)
	}
	wantLook(t, look, grade, words, reason)
	return look
}

func wantLook(t *testing.T, look health.Look, grade health.Grade, words, reason string) {
	t.Helper()
	got, cause := look.Grade()
	if got != grade {
		t.Errorf("the grade is %s, want %s: %+v", got, grade, look.Operations)
		return
	}
	if cause != nil && (!strings.Contains(cause.Error, words) || cause.Reason != reason) {
		t.Errorf("it says %q, because %q; want %q, because %q", cause.Error, cause.Reason, words, reason)
	}
}

// below lists what is below dir.
func below(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return all
}

func TestDirectory(t *testing.T) {
	d := newDirectory(t, "size=8m")
	look := want(t, d, health.OK, "", "")
	var names []string
	for _, o := range look.Operations {
		names = append(names, o.Name)
		if o.At.IsZero() || o.Seconds <= 0 {
			t.Errorf("%+v", o)
		}
	}
	if want := []string{"root", "space", "get", "put", "list", "delete"}; !slices.Equal(names, want) {
		t.Errorf("operations %q, want %q", names, want)
	}
	if left := below(t, d.Root); !slices.Equal(left, []string{marker}) {
		t.Errorf("it leaves %q", left)
	}
	// What a killed look left is swept when it is old; another's at work is not.
	old, young := filepath.Join(d.Root, probes, "this/old"), filepath.Join(d.Root, probes, "this/young")
	for _, path := range []string{old, young} {
		check(t, os.WriteFile(path, nil, 0o600))
	}
	check(t, os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)))
	want(t, d, health.OK, "", "")
	if left := below(t, filepath.Join(d.Root, probes)); !slices.Equal(left, []string{"this/young"}) {
		t.Errorf("%q are left", left)
	}
}

func TestFullDirectory(t *testing.T) {
	for name, options := range map[string]string{"bytes": "size=8m", "files": "nr_inodes=50"} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory(t, options)
			want(t, d, health.OK, "", "")
			filler := filepath.Join(d.Root, "filler")
			check(t, os.Mkdir(filler, 0o755))
			for i := 0; ; i++ {
				if err := os.WriteFile(filepath.Join(filler, fmt.Sprint(i)), make([]byte, 128<<10), 0o600); err != nil {
					if !errors.Is(err, syscall.ENOSPC) {
						t.Fatal(err)
					}
					break
				}
			}
			look := want(t, d, health.Degraded, "full", "it is full")
			for _, o := range look.Operations {
				if (o.Error != "") != (o.Name == "space" || o.Name == "put") || o.Error != "" && !o.Sure {
					t.Errorf("%+v", o)
				}
			}
			check(t, os.RemoveAll(filler))
			want(t, d, health.OK, "", "")
		})
	}
}

// The last of the room is kept for what the machine itself has to write.
func TestReserve(t *testing.T) {
	d := newDirectory(t, "size=8m")
	check(t, os.WriteFile(filepath.Join(d.Root, "filler"), make([]byte, 8<<20-200<<10), 0o600))
	look := want(t, d, health.Degraded, "the disk is full: 0 MiB are free", "it is full")
	for _, o := range look.Operations {
		if (o.Error != "") != (o.Name == "space") {
			t.Errorf("%+v", o)
		}
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	d := newDirectory(t, "size=8m")
	want(t, d, health.OK, "", "")
	check(t, unix.Mount("", d.Root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "size=8m"))
	want(t, d, health.Degraded, "mounted read-only", "it is read-only")
	check(t, unix.Mount("", d.Root, "", unix.MS_REMOUNT, "size=8m"))
	want(t, d, health.OK, "", "")
	// A bind mount of it alone, and one on which there was never a look.
	other := filepath.Join(t.TempDir(), "bound")
	disk(t, other, "size=1m")
	check(t, unix.Mount(other, other, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(other, unix.MNT_DETACH) }()
	check(t, unix.Mount("", other, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	want(t, Directory{Root: other, Record: d.Record, ID: "this"}, health.Degraded, "mounted read-only", "it is read-only")
}

func TestMissingDirectory(t *testing.T) {
	d := newDirectory(t, "size=8m")
	gone := Directory{Root: filepath.Join(d.Root, "gone"), Record: d.Record, ID: "this"}
	look := want(t, gone, health.Down, "is not there", "it is missing")
	if len(look.Operations) != 1 || look.Operations[0].Key != "storage.filesystem.root" || !look.Operations[0].Sure {
		t.Errorf("%+v", look.Operations)
	}
	check(t, os.WriteFile(gone.Root, nil, 0o600))
	want(t, gone, health.Down, "is not a directory", "it is missing")
	want(t, Directory{Root: filepath.Join(gone.Root, "below"), ID: "this"}, health.Down, "is not a directory", "it is missing")
}

// images puts into the root what is there once somebody has pushed.
func images(t *testing.T, d Directory) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Join(d.Root, repositories), 0o755))
}

// A root with images whose disk is gone is an empty directory like any other.
func TestUnmountedDirectory(t *testing.T) {
	d := newDirectory(t, "size=8m")
	want(t, d, health.OK, "", "")
	images(t, d)
	want(t, d, health.OK, "", "")
	parked := filepath.Join(t.TempDir(), "parked")
	check(t, os.Mkdir(parked, 0o755))
	move := func(from, to string) { t.Helper(); check(t, unix.Mount(from, to, "", unix.MS_MOVE, "")) }
	move(d.Root, parked)
	look := want(t, d, health.Down, "not the file system that was there before", "it is not mounted")
	if !look.Operations[0].Sure || len(below(t, d.Root)) > 0 {
		t.Errorf("%+v, %q", look.Operations, below(t, d.Root))
	}
	if !d.Other() {
		t.Error("the registry would write there")
	}
	move(parked, d.Root)
	want(t, d, health.OK, "", "")
	if d.Other() {
		t.Error("the registry would not write there")
	}

	// Another disk in its place, empty or with images, is refused until somebody says
	// that it is meant; then the first one is the wrong one.
	move(d.Root, parked)
	disk(t, d.Root, "size=8m")
	want(t, d, health.Down, "redoubt health --adopt", "it is not mounted")
	images(t, d)
	check(t, os.WriteFile(filepath.Join(d.Root, marker), []byte("another\n"), 0o600))
	want(t, d, health.Down, "redoubt health --adopt", "it is not mounted")
	check(t, d.Adopt())
	want(t, d, health.OK, "", "")
	check(t, unix.Unmount(d.Root, 0))
	move(parked, d.Root)
	want(t, d, health.Down, "redoubt health --adopt", "it is not mounted")
}

// What is taken without a question: nothing is lost by it.
func TestTakenDirectories(t *testing.T) {
	d := newDirectory(t, "size=8m")
	want(t, d, health.OK, "", "")
	t.Run("another disk while there were no images", func(t *testing.T) {
		check(t, unix.Unmount(d.Root, 0))
		want(t, d, health.OK, "", "")
		disk(t, d.Root, "size=8m")
		want(t, d, health.OK, "", "")
	})
	t.Run("a populated disk at first", func(t *testing.T) {
		images(t, d)
		want(t, d, health.OK, "", "")
		fresh := d
		fresh.Record += ".new"
		want(t, fresh, health.OK, "", "")
		if a, b := d.remembered(), fresh.remembered(); a != b || !a.Used {
			t.Errorf("%+v and %+v", a, b)
		}
	})
	t.Run("a marker that somebody deleted", func(t *testing.T) {
		check(t, os.Remove(filepath.Join(d.Root, marker)))
		want(t, d, health.OK, "", "")
		data, err := os.ReadFile(filepath.Join(d.Root, marker))
		if err != nil || strings.TrimSpace(string(data)) != d.remembered().ID {
			t.Errorf("%q %v", data, err)
		}
	})
	t.Run("another root", func(t *testing.T) {
		other := d
		other.Root = filepath.Join(t.TempDir(), "other")
		check(t, os.Mkdir(other.Root, 0o755))
		want(t, other, health.OK, "", "")
	})
	t.Run("a damaged record", func(t *testing.T) {
		check(t, os.WriteFile(d.Record, []byte("\x00{"), 0o600))
		want(t, d, health.OK, "", "")
		if r := d.remembered(); r.Root != d.Root || r.ID == "" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("nowhere to remember it", func(t *testing.T) {
		d.Record = filepath.Join(d.Root, "nowhere/storage.json")
		want(t, d, health.OK, "", "")
	})
}

// as looks as a user who is not root.
func as(t *testing.T, root string) (look health.Look) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_LOOK="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	check(t, err)
	check(t, json.Unmarshal(out, &look))
	return look
}

func TestForbiddenDirectory(t *testing.T) {
	d := newDirectory(t, "size=8m,mode=0755")
	for dir := filepath.Dir(d.Root); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		check(t, os.Chmod(dir, 0o755))
	}
	wantLook(t, as(t, d.Root), health.Degraded, "chown -R redoubt-registry", "it may not be used")
	check(t, os.Chmod(d.Root, 0o700))
	wantLook(t, as(t, d.Root), health.Down, "chown -R redoubt-registry", "it may not be used")
	check(t, os.Chmod(d.Root, 0o777))
	wantLook(t, as(t, d.Root), health.OK, "", "")
}

// A disk that takes no write and says nothing, as one that dies does. One run of the unit
// finds out, for it cannot end before the disk answers.
func TestFrozenDirectory(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "disk")
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 16<<20))
	d := Directory{Root: filepath.Join(dir, "data"), Record: filepath.Join(dir, "storage.json"), ID: "this"}
	check(t, os.Mkdir(d.Root, 0o755))
	for _, args := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, d.Root}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	defer func() { check(t, unix.Unmount(d.Root, unix.MNT_DETACH)) }()
	want(t, d, health.OK, "", "")
	f, err := os.Open(d.Root)
	check(t, err)
	defer f.Close()
	const freeze, thaw = 0xc0045877, 0xc0045878 // FIFREEZE and FITHAW of linux/fs.h
	check(t, unix.IoctlSetInt(int(f.Fd()), freeze, 0))
	thawed := false
	defer func() {
		if !thawed { // a process that waits for the disk cannot even be killed
			_ = unix.IoctlSetInt(int(f.Fd()), thaw, 0)
		}
	}()
	look := want(t, d, health.Degraded, "does not answer", "its disk does not answer")
	if _, cause := look.Grade(); cause == nil || cause.Sure {
		t.Errorf("one look is enough: %+v", cause)
	}
	s := newStation(t, fmt.Sprintf("  filesystem: {rootdirectory: %q}\n", d.Root))
	if state := s.keep(health.Degraded, "", "does not answer"); len(state.Looks) != 2 {
		t.Errorf("%q looks", state.Looks)
	}
	check(t, unix.IoctlSetInt(int(f.Fd()), thaw, 0))
	thawed = true
	want(t, d, health.OK, "", "")
	s.keep(health.Degraded, "", "")
	s.keep(health.OK, "the storage is ok; it was degraded since", "")
}
