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

// rooms lists the rooms from the lowest to the highest: a package imports its own
// room and those below it.
var rooms = []string{"storage", "certificates", "configuration", "access", "registry", "system"}

// ground are small packages that stand below all rooms: every package may import them,
// and they import none of the others. The rules of access are among them: the configuration
// judges them, and the registry obeys them.
var ground = []string{"access/acl", "access/claims", "access/immutable", "access/robot", "access/target", "files", "hostname", "journal", "outbound", "paths", "printable", "registryyml", "spool"}

// below gives each package of the agent what it may import of the others. What is
// not named here may import nothing of the agent at all.
var below = map[string][]string{
	"configuration":          {},
	"configuration/config":   {"certificates/cert"},
	"configuration/disk":     {"configuration/plan", "configuration/tree"},
	"configuration/foreign":  {"certificates/cert", "configuration/config"},
	"configuration/history":  {"configuration/disk", "configuration/plan", "configuration/tree"},
	"configuration/plan":     {"configuration/tree"},
	"configuration/render":   {"configuration/config", "configuration/tree", "storage/retention", "units"},
	"configuration/secrets":  {"certificates/cert", "configuration/config", "configuration/render", "configuration/tree"},
	"configuration/systemd":  {"configuration/tree"},
	"configuration/tree":     {},
	"configuration/userdata": {"configuration/config"},
	"certificates":           {},
	"certificates/acme":      {"certificates/cert", "certificates/dns01", "certificates/renewal", "storage/sharedstate"},
	"certificates/cert":      {"certificates/renewal"},
	"certificates/clientca":  {"certificates/cert"},
	"certificates/dns01":     {},
	"certificates/renewal":   {},
	"storage":                {},
	"storage/backup":         {"storage/imagecopy", "storage/layout", "storage/progress"},
	"storage/bucket":         {},
	"storage/collect":        {"storage/layout", "storage/trash"},
	"storage/trash":          {"storage/bucket", "storage/layout"},
	"storage/storagecheck":   {"storage/bucket", "storage/health", "storage/neighbours", "storage/sharedstate"},
	"storage/contents":       {"storage/layout"},
	"storage/directory":      {"storage/fault", "storage/layout", "storage/once"},
	"storage/driver":         {"storage/bucket", "storage/fault", "storage/layout", "storage/once"},
	"storage/fault":          {},
	"storage/health":         {},
	"storage/imagecopy":      {"storage/layout", "storage/progress"},
	"storage/inventory":      {"storage/layout"},
	"storage/layout":         {},
	"storage/mount":          {"storage/fault", "storage/layout", "storage/once"},
	"storage/neighbours":     {"storage/sharedstate"},
	"storage/once":           {},
	"storage/progress":       {},
	"storage/pulls":          {"storage/layout"},
	"storage/quota":          {"storage/layout", "storage/progress", "storage/sharedstate"},
	"storage/retention":      {"storage/inventory", "storage/layout", "storage/pulls", "storage/trash"},
	"storage/role":           {},
	"storage/scrub":          {"storage/layout", "storage/progress"},
	"storage/sharedstate":    {"storage/bucket"},
	"access":                 {},
	"access/acl":             {},
	"access/audit":           {},
	"access/claims":          {},
	"access/robot":           {"access/acl"},
	"access/syslog":          {},
	"access/webhook":         {"access/acl", "access/audit"},
	"access/clients":         {"certificates/cert"},
	"access/identity":        {},
	"access/immutable":       {"access/acl"},
	"access/ldap":            {"access/identity", "access/limit", "access/token", "access/users"},
	"access/limit":           {},
	"access/oidc":            {"access/identity", "access/limit", "access/token", "access/users"},
	"access/target":          {},
	"access/token":           {},
	"access/users":           {"access/clients", "access/identity", "access/limit", "access/token"},
	"registry":               {"access/", "certificates/", "registry/", "storage/", "units"},
	"registry/blob":          {"registry/links", "registry/space", "registry/stream", "registry/uses", "storage/bucket", "storage/driver", "storage/fault", "storage/layout", "storage/quota", "storage/trash"},
	"registry/bounds":        {"access/identity"},
	"registry/blobcache":     {"registry/redis"},
	"registry/cors":          {},
	"registry/etag":          {},
	"registry/forwarded":     {},
	"registry/front":         {"registry/page", "registry/referrers", "registry/route", "storage/mount"},
	"registry/links":         {"storage/layout", "storage/once"},
	"registry/logs":          {},
	"registry/manifest":      {"storage/once", "registry/blobcache", "registry/etag", "registry/links", "registry/referrers", "registry/route", "registry/space", "registry/uses", "storage/fault", "storage/layout", "storage/trash"},
	"registry/metrics":       {"registry/route"},
	"registry/page":          {},
	"registry/redis":         {},
	"registry/referrers":     {"registry/links", "registry/page", "registry/route", "storage/layout"},
	"registry/route":         {},
	"registry/socket":        {},
	"registry/stream":        {},
	"registry/space":         {"registry/links", "registry/uses", "storage/fault", "storage/layout", "storage/quota"},
	"registry/uses":          {"registry/links", "storage/fault", "storage/layout"},
	"registry/watchdog":      {"registry/socket"},
	"system":                 {},
	"system/doctor":          {"storage/progress"},
	"system/imagestore":      {"configuration/", "storage/"},
	"system/status":          {"certificates/renewal", "storage/health", "storage/progress", "storage/quota"},
	"files":                  {},
	"outbound":               {"paths"},
	"paths":                  {},
	"hostname":               {},
	"journal":                {},
	"printable":              {},
	"registryyml":            {},
	"":                       {"access/audit", "access/token", "certificates/", "configuration/", "registry/redis", "storage/", "system/", "units"},
	"spool":                  {"files", "printable"},
}

func TestImportsRunDown(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t, "./appliance/...") {
		name := inside(p.ImportPath)
		allowed, ok := below[name]
		if !ok {
			t.Errorf("appliance/%s is new: say in this test what it may import", name)
		}
		seen[name] = true
		for _, i := range p.Imports {
			other, ours := strings.CutPrefix(i, module)
			if !ours {
				continue
			}
			other = inside(other)
			if slices.Contains(ground, other) && !slices.Contains(ground, name) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool {
				return other == a || strings.HasSuffix(a, "/") && strings.HasPrefix(other, a)
			}) {
				t.Errorf("appliance/%s imports %s, which is not below it", name, other)
			}
			from, to := room(name), room(other)
			if from >= 0 && to > from {
				t.Errorf("appliance/%s imports %s: its room is not below that of %s", name, other, rooms[from])
			}
		}
	}
	for path := range below {
		if !seen[path] {
			t.Errorf("this test names appliance/%s, which does not exist", path)
		}
	}
}

// inside is a path of the repository without the agent's folder.
func inside(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, "appliance"), "/")
}

// room is the number of the room of a package, or -1 for what is in none.
func room(path string) int {
	name, _, _ := strings.Cut(path, "/")
	return slices.Index(rooms, name)
}

// What is pure can be tested without a machine: it reaches no network, no bus
// and no other program.
func TestPurePackages(t *testing.T) {
	for _, p := range packages(t, "./appliance/configuration/tree", "./appliance/configuration/config", "./appliance/configuration/foreign", "./appliance/configuration/render",
		"./appliance/configuration/plan", "./appliance/certificates/cert", "./appliance/certificates/renewal", "./appliance/storage/health",
		"./appliance/access/acl", "./appliance/access/claims", "./appliance/access/immutable", "./appliance/access/limit", "./appliance/access/robot", "./appliance/access/target") {
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
	for _, p := range packages(t, "./appliance/configuration/tree", "./appliance/configuration/foreign", "./appliance/configuration/render",
		"./appliance/configuration/plan", "./appliance/certificates/renewal", "./appliance/access/acl", "./appliance/access/limit") {
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
			if name, ours := strings.CutPrefix(d, module); ours && strings.HasPrefix(name, "appliance") && name != "appliance/configuration/tree" {
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
