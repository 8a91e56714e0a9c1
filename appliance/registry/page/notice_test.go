package page

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// The page reads each field of what apply writes: both declare the file's form, since
// the registry knows nothing of the configuration.
func TestReadsTheNoticeThatIsRendered(t *testing.T) {
	_, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte("redoubt:\n  hostname: a.example\n  tls: {mode: acmee}\n  nodes: 0\n")}})
	report = append(report, config.Entry{File: "vendor-data", Message: "cannot read"}, config.Entry{Message: "no place"})
	files, err := render.Maintenance("a.example", report)
	if err != nil {
		t.Fatal(err)
	}
	notice, _ := files.Lookup(paths.Maintenance)
	path := filepath.Join(t.TempDir(), "maintenance.json")
	if err := os.WriteFile(path, notice.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := ReadMaintenance(path)
	var strict Maintenance
	decoder := json.NewDecoder(bytes.NewReader(notice.Data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&strict); err != nil {
		t.Errorf("a field is not read: %v", err)
	}
	errs := report.Errors()
	if m.Hostname != "a.example" || len(m.Errors) != len(errs) || len(errs) != 4 {
		t.Fatalf("%+v", m)
	}
	for i, e := range errs {
		got := m.Errors[i]
		if got.String() != e.String() || got.Excerpt != Excerpt(e.Excerpt) {
			t.Errorf("got %+v, want %+v", got, e)
		}
	}
	if x := m.Errors[0].Excerpt; strings.TrimSpace(x.Before()) != "tls: {mode:" || x.Marked() != "acmee" || x.After() != "}" {
		t.Errorf("%q %q %q", x.Before(), x.Marked(), x.After())
	}
}
