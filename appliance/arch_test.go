package appliance_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/redoubt-registry/redoubt/"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Imports    []string
	Deps       []string
}

// packages lists the packages of this repository that patterns match.
func packages(t *testing.T, patterns ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Dir,Doc,Imports,Deps"}, patterns...)...)
	cmd.Dir = ".."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list the packages: %v", err)
	}
	var list []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		list = append(list, p)
	}
	if len(list) == 0 {
		t.Fatalf("no packages in %v", patterns)
	}
	return list
}

// below gives each layer of the agent what it may import of the others. What is
// not named here may import nothing of the agent at all.
var below = map[string][]string{
	"appliance/tree":        {},
	"appliance/config":      {"cert"},
	"appliance/health":      {},
	"appliance/cert":        {},
	"appliance/userdata":    {"config"},
	"appliance/render":      {"config", "tree", "units"},
	"appliance/plan":        {"tree"},
	"appliance/disk":        {"plan", "tree"},
	"appliance/systemd":     {"tree"},
	"appliance/clientca":    {"cert"},
	"appliance/credentials": {},
	"appliance/secrets":     {"cert", "config", "render", "tree"},
	"appliance/generations": {"disk", "plan", "tree"},
	"appliance/status":      {"health", "renewal"},
	"appliance/bucket":      {},
	"appliance/storage":     {"bucket", "health"},
	"appliance/state":       {"bucket"},
	"appliance/renewal":     {},
	"appliance/redis":       {},
	"appliance/acme":        {"cert", "renewal", "state"},
	"appliance/layout":      {},
	"appliance/progress":    {},
	"appliance/transfer":    {"layout", "progress"},
	"appliance/scrub":       {"layout", "progress"},
	"appliance/place":       {"bucket", "config", "registry/s3", "render", "secrets", "userdata"},
	"appliance/registry":    {"bucket", "cert", "health", "redis", "registry/", "renewal", "state", "storage"},
	"appliance": {"acme", "bucket", "cert", "clientca", "config", "disk", "generations", "health", "place", "plan",
		"progress", "redis", "render", "renewal", "scrub", "secrets", "state", "status", "systemd", "transfer", "tree",
		"units", "userdata"},
}

func TestImportsRunDown(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t, "./appliance/...") {
		allowed, ok := below[p.ImportPath]
		if strings.HasPrefix(p.ImportPath, "appliance/registry/") {
			allowed, ok = []string{"bucket", "cert", "registry/", "redis"}, true // its own parts
		}
		if !ok {
			t.Errorf("%s is new: say in this test what it may import", p.ImportPath)
		}
		seen[p.ImportPath] = true
		for _, i := range p.Imports {
			name, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			name = strings.TrimPrefix(name, "appliance/")
			if !slices.ContainsFunc(allowed, func(a string) bool { return name == a || strings.HasSuffix(a, "/") && strings.HasPrefix(name, a) }) {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, name)
			}
		}
	}
	for path := range below {
		if !seen[path] {
			t.Errorf("this test names %s, which does not exist", path)
		}
	}
}

// What is pure can be tested without a machine: it reaches no network, no bus
// and no other program.
func TestPurePackages(t *testing.T) {
	for _, p := range packages(t, "./appliance/tree", "./appliance/config", "./appliance/cert",
		"./appliance/health", "./appliance/render", "./appliance/plan", "./appliance/renewal") {
		for _, i := range p.Imports {
			impure := i == "net" || strings.HasPrefix(i, "net/http") || i == "os/exec" ||
				strings.Contains(i, "dbus") || strings.Contains(i, "go-systemd")
			if impure {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}

// The renderers have no clock, no environment and no disk either.
func TestRenderersAndPlansTouchNothing(t *testing.T) {
	for _, p := range packages(t, "./appliance/tree", "./appliance/render", "./appliance/plan", "./appliance/renewal") {
		for _, i := range []string{"os", "math/rand", "math/rand/v2", "crypto/rand", "syscall"} {
			if slices.Contains(p.Imports, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
}

func TestThePackerSideSharesOnlyTree(t *testing.T) {
	for _, p := range packages(t, "./packer/...", "./butane/...", "./cmd/packer-plugin-redoubt") {
		for _, d := range p.Deps {
			if name, ours := strings.CutPrefix(d, module); ours && strings.HasPrefix(name, "appliance") && name != "appliance/tree" {
				t.Errorf("%s needs %s of the agent", p.ImportPath, name)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t, "./appliance/...", "./butane/...", "./packer/...", "./units", "./cmd/...") {
		if !strings.HasSuffix(p.Doc, ".") {
			t.Errorf("%s has no package comment that is a sentence", p.ImportPath)
		}
	}
}

func TestMainIsShort(t *testing.T) {
	mains, err := filepath.Glob("../cmd/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("%d mains, %v", len(mains), err)
	}
	for _, main := range mains {
		f, err := os.Open(main)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for s := bufio.NewScanner(f); s.Scan(); {
			lines++
		}
		f.Close()
		if lines > 40 {
			t.Errorf("%s has %d lines, more than 40", main, lines)
		}
	}
}
