package units_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/units"
)

// named are the constants of the package.
var named = []string{units.Apply, units.RegistrySocket, units.Registry, units.Redis, units.EtcMount, units.Renew, units.RenewTimer, units.Alert, units.CertificateFiles,
	units.CredentialsSocket, units.Credentials, units.Firewall,
	units.Health, units.HealthTimer, units.Confirm, units.ConfirmTimer, units.GC, units.GCTimer, units.GCPath, units.Backup, units.BackupTimer}

// TestEachUnitHasAName holds that the constants and the files are the same set.
func TestEachUnitHasAName(t *testing.T) {
	var files []string
	entries, err := fs.ReadDir(units.Files, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, e.Name())
		}
	}
	want := slices.Sorted(slices.Values(named))
	if !slices.Equal(files, want) {
		t.Errorf("units/ holds %q, the constants name %q", files, want)
	}
	onDisk, err := filepath.Glob("*.[a-z]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range onDisk {
		if filepath.Ext(name) != ".go" && filepath.Ext(name) != ".d" && !slices.Contains(files, name) {
			t.Errorf("%s is not embedded: give its kind to the go:embed line", name)
		}
	}
}

// declaration is what the tests read of appliance.bu; package butane reads all of it.
type declaration struct {
	Storage struct {
		Files []struct {
			Path     string
			Contents struct{ Local string }
		}
	}
	Systemd struct {
		Units []struct {
			Name    string
			Enabled bool
			Mask    bool
		}
	}
}

func declared(t *testing.T) declaration {
	t.Helper()
	data, err := os.ReadFile("../butane/appliance.bu")
	if err != nil {
		t.Fatal(err)
	}
	var d declaration
	if err := yaml.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEachUnitIsDeclared holds that the image gets every unit, under its name.
func TestEachUnitIsDeclared(t *testing.T) {
	local := map[string]string{}
	for _, f := range declared(t).Storage.Files {
		local[f.Path] = f.Contents.Local
	}
	for _, name := range append(slices.Clone(named), units.Sandbox) {
		path := "/usr/lib/systemd/system/" + name
		if got := local[path]; got != "units/"+name {
			t.Errorf("butane/appliance.bu: %s has contents %q, want units/%s", path, got, name)
		}
	}
}

// TestEachFileIsDeclared holds that nothing in butane/files is forgotten and
// that nothing declared is missing.
func TestEachFileIsDeclared(t *testing.T) {
	declaredLocal := map[string]bool{}
	for _, f := range declared(t).Storage.Files {
		declaredLocal[f.Contents.Local] = true
	}
	for _, local := range slices.Sorted(maps.Keys(declaredLocal)) {
		if strings.HasPrefix(local, "dist/") {
			continue // the build makes it
		}
		if _, err := os.Stat(filepath.Join("..", local)); err != nil {
			t.Errorf("butane/appliance.bu: %v", err)
		}
	}
	files, err := filepath.Glob("../butane/files/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in butane/files: %v", err)
	}
	for _, f := range files {
		if local := strings.TrimPrefix(f, "../"); !declaredLocal[local] {
			t.Errorf("%s is not in butane/appliance.bu", local)
		}
	}
}

// TestPresetMatchesEnablement holds that the vendor preset and the declaration
// enable the same units, so that "systemctl preset-all" changes nothing.
func TestPresetMatchesEnablement(t *testing.T) {
	preset, err := os.ReadFile("../butane/files/50-redoubt.preset")
	if err != nil {
		t.Fatal(err)
	}
	enabled := map[string]bool{}
	for _, u := range declared(t).Systemd.Units {
		enabled[u.Name] = u.Enabled
	}
	for _, name := range named {
		unit, err := fs.ReadFile(units.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		installable := strings.Contains(string(unit), "\n[Install]\n")
		inPreset := strings.Contains(string(preset), "\nenable "+name+"\n")
		if installable != inPreset || installable != enabled[name] {
			t.Errorf("%s: has [Install] %t, preset enables it %t, appliance.bu enables it %t", name, installable, inPreset, enabled[name])
		}
	}
}

// assignments are the lines of a unit file that set something, by their directive.
func assignments(t *testing.T, name string) map[string][]string {
	t.Helper()
	data, err := fs.ReadFile(units.Files, name)
	if err != nil {
		t.Fatal(err)
	}
	set := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			set[key] = append(set[key], value)
		}
	}
	return set
}

// TestSandboxStandsOnce holds that no service sets what the drop-in for all of them
// sets: systemd reads a drop-in last, so the service's own line would mean nothing.
// IPAddressDeny= adds up, and may stand in both.
func TestSandboxStandsOnce(t *testing.T) {
	shared := assignments(t, units.Sandbox)
	if len(shared) == 0 {
		t.Fatalf("%s sets nothing", units.Sandbox)
	}
	for _, name := range named {
		if filepath.Ext(name) != ".service" {
			continue
		}
		if !strings.HasPrefix(name, "redoubt-") {
			t.Errorf("%s does not get %s: its name does not begin with redoubt-", name, units.Sandbox)
		}
		own := assignments(t, name)
		for key := range own {
			if shared[key] != nil && key != "IPAddressDeny" {
				t.Errorf("%s sets %s=, which %s overrides: take it from one of them", name, key, units.Sandbox)
			}
		}
		for _, key := range []string{"CapabilityBoundingSet", "ExecPaths", "ProcSubset", "RestrictAddressFamilies", "SystemCallFilter"} {
			if own[key] == nil {
				t.Errorf("%s has no %s=, which is each service's own", name, key)
			}
		}
	}
}
