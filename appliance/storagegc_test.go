package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// However a collection ends, status, metrics and the audit log say what its caller is
// told, once.
func TestCollectionIsRecorded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		storage, rules string
		result         io.Writer
		dry            bool
		want           string // part of the error
	}{
		"good":              {result: io.Discard},
		"dry run":           {result: io.Discard, dry: true},
		"no storage":        {storage: "/nonexistent/registry", result: io.Discard, want: "cannot use configured"},
		"rules are cut":     {result: io.Discard, rules: `{"rules":`, want: "cannot read the rules of retention"},
		"retention fails":   {result: io.Discard, rules: `{"rules":[{"repositories":["A"],"keep":1}]}`, want: "cannot do what the rules of retention say"},
		"result has no end": {result: broken{}, want: "broken pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			store := filepath.Join(dir, "store")
			if test.storage != "" {
				store = test.storage
			} else {
				must(t, os.Mkdir(store, 0o755))
			}
			must(t, os.WriteFile(filepath.Join(dir, "registry.yml"), []byte(fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\n", store)), 0o644))
			must(t, os.MkdirAll(filepath.Join(dir, paths.AuditInbox), 0o755))
			o := GCOptions{Storage: imagestore.Configured, Grace: trash.Least, Trash: 24 * time.Hour, Parallel: 2, DryRun: test.dry,
				Output: progress.NewOutput(io.Discard, 0), Result: test.result, Record: filepath.Join(dir, "last.json"), Root: dir}
			if test.rules != "" {
				o.Rules = filepath.Join(dir, "rules.json")
				must(t, os.WriteFile(o.Rules, []byte(test.rules), 0o644))
			}
			err := CollectStorage(t.Context(), imagestore.Finder{Registry: filepath.Join(dir, "registry.yml")}, o)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("it ends with %v, want %q", err, test.want)
			}
			notes := notesIn(t, dir)
			last := collect.ReadLast(o.Record)
			if test.dry {
				if len(notes) > 0 || !last.At.IsZero() {
					t.Fatalf("a dry run is recorded: %v, %+v", notes, last)
				}
				return
			}
			want, text := audit.OK, ""
			if err != nil {
				want, text = audit.Failed, err.Error()
			}
			if len(notes) != 1 || notes[0].Action != audit.GC || notes[0].Result != want {
				t.Errorf("the audit log has %+v, want one %s", notes, want)
			}
			if last.Error != text || last.At.IsZero() || last.Good.IsZero() != (err != nil) {
				t.Errorf("status has %+v, want the error %q", last, text)
			}
		})
	}
}

// notesIn are the events that the registry of a machine would take to its sinks.
func notesIn(t *testing.T, root string) (events []audit.Event) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, paths.AuditInbox, "*.json"))
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		var e audit.Event
		must(t, json.Unmarshal(data, &e))
		events = append(events, e)
	}
	return events
}
