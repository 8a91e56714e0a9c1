//go:build build

package build_test

import (
	"debug/buildinfo"
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/redoubt-registry/redoubt/test/program"
)

// TestToolchain holds that what is shipped, and what builds it, was built with the
// Go of go.mod or a newer one: an older one has holes that a stranger reaches.
func TestToolchain(t *testing.T) {
	top := program.Repository(t)
	text, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^toolchain (go\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("go.mod names no toolchain")
	}
	for _, path := range []string{"dist/redoubt", "dist/packer-plugin-redoubt", ".cache/tools/packer", ".cache/tools/packer-plugin-qemu"} {
		info, err := buildinfo.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Error(err)
			continue
		}
		if version.Compare(info.GoVersion, string(m[1])) < 0 {
			t.Errorf("%s was built with %s, older than %s", path, info.GoVersion, m[1])
		}
	}
}
