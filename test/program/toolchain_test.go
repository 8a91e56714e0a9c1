package program_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/program"
)

var toolchainLine = regexp.MustCompile(`(?m)^toolchain (go\S+)$`)

// toolchain is the version of Go that a go.mod names, or nothing.
func toolchain(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if m := toolchainLine.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// TestOneToolchain holds that each module here is built with the same Go: what the
// agent must not be built with, the tools must not be either.
func TestOneToolchain(t *testing.T) {
	top := program.Repository(t)
	want := toolchain(t, filepath.Join(top, "go.mod"))
	if want == "" {
		t.Fatal("go.mod names no toolchain")
	}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if err == nil && d.Name() == "go.mod" {
			if have := toolchain(t, path); have != want {
				t.Errorf("%s names toolchain %q, go.mod at the top %q", path, have, want)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestScriptsSetTheToolchain holds that a script builds with the Go of go.mod
// where the machine's settings say otherwise, and refuses one that is older.
func TestScriptsSetTheToolchain(t *testing.T) {
	top := program.Repository(t)
	want := toolchain(t, filepath.Join(top, "go.mod"))
	for have, refused := range map[string]bool{want: false, "go1.99.0": false, "go1.26.8": true, "go1.9": true} {
		dir := t.TempDir()
		script := "#!/bin/sh\n[ \"$GOTOOLCHAIN\" = " + want + " ] && echo " + have + "\n"
		if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("bash", "-c", ". scripts/go.sh && check_toolchain")
		cmd.Dir = top
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GOTOOLCHAIN=local")
		out, err := cmd.CombinedOutput()
		if refused != (err != nil) {
			t.Errorf("%s: %v\n%s", have, err, out)
		}
		if refused && !strings.Contains(string(out), strings.TrimPrefix(want, "go")+" or newer") {
			t.Errorf("%s: it does not say what to install: %s", have, out)
		}
	}
}
