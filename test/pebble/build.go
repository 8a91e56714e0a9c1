package pebble

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// build makes Pebble and its challenge test server from their module, once for
// all packages, and returns their directory. What is up to date costs little.
func build(t Owner) string {
	t.Helper()
	repo := repository(t)
	dir := filepath.Join(repo, ".cache", "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".pebble.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	const module = "github.com/letsencrypt/pebble/v2/cmd/"
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir+"/", module+"pebble", module+"pebble-challtestsrv")
	cmd.Dir = filepath.Join(repo, "test", "tools")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build Pebble: %v\n%s", err, out)
	}
	return dir
}

// repository is the directory of the main module's go.mod.
func repository(t Owner) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "tools", "go.mod")); err == nil {
			return dir
		}
		if dir == "/" {
			t.Fatal("cannot find the repository above the test")
		}
		dir = filepath.Dir(dir)
	}
}
