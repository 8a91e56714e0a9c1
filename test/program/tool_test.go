package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTool holds that a tool is found only if it was built of what is there now.
func TestTool(t *testing.T) {
	top := t.TempDir()
	tools := filepath.Join(top, ".cache", "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		t.Fatal(err)
	}
	module := filepath.Join(top, "go.mod")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(why string) {
		t.Helper()
		if path, err := tool(top, "set", "thing"); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("it answers %q, %v; want an error with %q", path, err, why)
		}
	}
	fails("it is not built")
	write(module, "module a\n")
	cmd := exec.Command("sh", "-c", "sha256sum go.mod >.cache/tools/set.sum")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fails("thing: no such file")
	write(filepath.Join(tools, "thing"), "")
	if path, err := tool(top, "set", "thing"); err != nil || path != filepath.Join(tools, "thing") {
		t.Errorf("%q, %v", path, err)
	}
	write(module, "module b\n")
	fails("it was built before go.mod changed")
}
