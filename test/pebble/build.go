package pebble

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/redoubt-registry/redoubt/test/program"
)

// build makes Pebble and its challenge test server from their module, once for
// all packages, and returns their directory. What is up to date costs little.
func build(t Owner) string {
	t.Helper()
	repo := program.Repository(t)
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
