package foreign_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/foreign"
)

var update = flag.Bool("update", false, "write what is found to testdata/*.txtar")

// imported imports the files of an archive: those in no folder are FILEs, the others are
// there for a mount. The comment may have a line "hostname NAME",
// and one "incomplete".
func imported(archive *txtar.Archive) (foreign.Result, []foreign.File, error) {
	var files []foreign.File
	var o foreign.Options
	if m := regexp.MustCompile(`(?m)^hostname (\S+)$`).FindSubmatch(archive.Comment); m != nil {
		o.Hostname = string(m[1])
	}
	o.Incomplete = regexp.MustCompile(`(?m)^incomplete$`).Match(archive.Comment)
	there := map[string][]byte{}
	for _, f := range archive.Files {
		switch {
		case f.Name == "want":
		case strings.Contains(f.Name, "/") || strings.HasPrefix(f.Name, ".") || strings.HasPrefix(f.Name, "-"):
			there[f.Name] = f.Data
		default:
			files = append(files, foreign.File{Name: f.Name, Data: f.Data})
		}
	}
	o.Open = func(name string) ([]byte, error) {
		data, ok := there[name]
		if !ok {
			return nil, errors.New("not there")
		}
		return data, nil
	}
	result, err := foreign.Import(files, o)
	return result, files, err
}

// outcome is the document where it is valid, or what a person is told instead.
func outcome(result foreign.Result, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	if result.Report.Err() != nil {
		var b strings.Builder
		for _, n := range result.Notes {
			b.WriteString("note: " + n.String() + "\n")
		}
		return b.String() + "not valid:\n" + result.Report.Errors().String()
	}
	return string(result.Document)
}

// TestImports imports each testdata/*.txtar: what people have for other registries gives
// user-data that is valid, or one round of messages that say why not.
func TestImports(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d cases, %v", len(names), err)
	}
	valid := 0
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			result, _, err := imported(archive)
			got := outcome(result, err)
			if err == nil && result.Report.Err() == nil {
				valid++
				holds(t, result)
			}
			last := len(archive.Files) - 1
			if archive.Files[last].Name != "want" {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				last++
			}
			if *update {
				archive.Files[last].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(archive.Files[last].Data) != got {
				t.Errorf("got:\n%s", got)
			}
		})
	}
	if valid < 25 {
		t.Errorf("only %d of %d are valid", valid, len(names))
	}
}

var secretText = regexp.MustCompile(`secretvalue|\$2[aby]\$|PRIVATE KEY`)

// holds is what is true of each document: it is read again as it was judged, and no
// message tells a secret.
func holds(t *testing.T, result foreign.Result) {
	t.Helper()
	_, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: result.Document}})
	if report.Err() != nil {
		t.Errorf("not valid when read again: %v", report)
	}
	for _, n := range result.Notes {
		if secretText.MatchString(n.String()) {
			t.Errorf("a note tells a secret: %s", n)
		}
		if !strings.Contains(string(result.Document), "# "+n.String()) {
			t.Errorf("no comment says: %s", n)
		}
	}
	if secretText.MatchString(result.Report.String()) {
		t.Errorf("the report tells a secret: %s", result.Report)
	}
}
