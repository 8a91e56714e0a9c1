package stores

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/redoubt-registry/redoubt/test/program"
)

// programs are what is built for a store, from the module in test/tools/NAME.
var programs = map[string][]string{
	"minio":     {"github.com/minio/minio", "./minio-user"},
	"versitygw": {"github.com/versity/versitygw/cmd/versitygw"},
}

// Build makes both stores' programs, once for all packages, and says where. What
// is up to date costs nothing.
func Build(t Owner) (dir string) {
	t.Helper()
	for name := range programs {
		build(t, name)
	}
	return tools(t)
}

func build(t Owner, name string) {
	t.Helper()
	dir := tools(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(program.Repository(t), "test", "tools", name)
	stamp, want := filepath.Join(dir, "."+name+".stamp"), fingerprint(t, module)
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, want) {
		return
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}
	cmd := exec.Command("go", append(args, programs[name]...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build %s: %v\n%s", name, err, out)
	}
	if err := os.WriteFile(stamp, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fingerprint is of all that a build comes of.
func fingerprint(t Owner, module string) []byte {
	t.Helper()
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version())
	files, err := filepath.Glob(filepath.Join(module, "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(module, "go.mod"), filepath.Join(module, "go.sum")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(sum, filepath.Base(file), len(data))
		sum.Write(data)
	}
	return fmt.Appendf(nil, "%x\n", sum.Sum(nil))
}

// tools is where the programs are.
func tools(t Owner) string { return filepath.Join(program.Repository(t), ".cache", "tools") }
