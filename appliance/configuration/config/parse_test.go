package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what is found to testdata/*.txtar")

// TestCases runs every case of testdata/*.txtar. NAME.yaml is a document and
// NAME.want what Parse makes of it: the report, and for a valid one all that
// differs from the defaults. In testdata/layers-*.txtar all documents of an
// archive are layers of one configuration, and "want" is what comes of them.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			changed := false
			for _, c := range casesOf(file, archive) {
				got := describe(t, c.layers)
				if want := section(archive, c.want); got != want {
					changed = true
					set(archive, c.want, got)
					if !*update {
						t.Errorf("%s:\ngot:\n%swant:\n%s", c.want, got, want)
					}
				}
			}
			if changed && *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type testCase struct {
	layers []Layer
	want   string
}

func casesOf(file string, archive *txtar.Archive) []testCase {
	var cases []testCase
	var all []Layer
	for _, f := range archive.Files {
		if name, ok := strings.CutSuffix(f.Name, ".yaml"); ok {
			all = append(all, Layer{Name: name, Data: f.Data})
			cases = append(cases, testCase{[]Layer{{Name: "user-data", Data: f.Data}}, name + ".want"})
		}
	}
	if strings.HasPrefix(filepath.Base(file), "layers-") {
		return []testCase{{all, "want"}}
	}
	return cases
}

// describe is the report of layers and, where they are valid, what they change.
func describe(t *testing.T, layers []Layer) string {
	t.Helper()
	cfg, origins, report := Parse(layers)
	if report.Err() != nil {
		return report.String()
	}
	return report.String() + changes(t, cfg, origins)
}

// changes lists each shown line of the configuration that has an origin.
func changes(t *testing.T, cfg Config, origins Origins) string {
	t.Helper()
	out, err := cfg.Show(origins)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, " # ") && !strings.HasSuffix(line, "# default\n") {
			fmt.Fprintf(&b, "%s\n", strings.TrimRight(line, "\n"))
		}
	}
	return b.String()
}

func section(archive *txtar.Archive, name string) string {
	for _, f := range archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func set(archive *txtar.Archive, name, text string) {
	for i, f := range archive.Files {
		if f.Name == name {
			archive.Files[i].Data = []byte(text)
			return
		}
	}
	at := slices.IndexFunc(archive.Files, func(f txtar.File) bool {
		return f.Name == strings.TrimSuffix(name, ".want")+".yaml"
	})
	if at < 0 {
		at = len(archive.Files) - 1
	}
	archive.Files = slices.Insert(archive.Files, at+1, txtar.File{Name: name, Data: []byte(text)})
}
