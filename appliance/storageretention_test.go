package appliance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/test/seed"
)

const retentionDocument = `redoubt:
  hostname: registry.example.com
  retention:
    rules:
      - {repositories: ["team/*"], tags: ["v*"], keep: 1, protect: [v1]}
`

// Rules delete nothing before their plan was printed; then a collection does what the plan
// says, and a dry run does not.
func TestRetentionWithCollection(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "store")
	must(t, os.Mkdir(root, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "registry.yml"), []byte(fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\n", root)), 0o644))
	registry := seed.Serve(t, seed.Directory(root))
	for i := 1; i <= 4; i++ {
		registry.Push(t, fmt.Sprint("team/app:v", i), seed.Image(t, 1000, 1))
		tag := filepath.Join(root, "docker/registry/v2/repositories/team/app/_manifests/tags", fmt.Sprint("v", i), "current/link")
		at := time.Now().Add(time.Duration(i-100) * time.Hour)
		must(t, os.Chtimes(tag, at, at))
	}
	cfg, origins, report := config.Parse([]config.Layer{{Name: "user-data.yaml", Data: []byte(retentionDocument)}})
	must(t, report.Err())
	rules := filepath.Join(dir, "retention.json")
	data, err := json.Marshal(render.Retention(cfg))
	must(t, err)
	must(t, os.WriteFile(rules, data, 0o644))
	finder := imagestore.Finder{Registry: filepath.Join(dir, "registry.yml")}
	gc := func(dry bool) string {
		t.Helper()
		var out bytes.Buffer
		must(t, CollectStorage(t.Context(), finder, GCOptions{Storage: imagestore.Configured, Grace: trash.Least, Trash: 24 * time.Hour, Parallel: 2,
			DryRun: dry, Output: progress.NewOutput(&out, 0), Result: &out, Rules: rules}))
		return out.String()
	}
	tags := func() string {
		t.Helper()
		list, err := os.ReadDir(filepath.Join(root, "docker/registry/v2/repositories/team/app/_manifests/tags"))
		must(t, err)
		var names []string
		for _, d := range list {
			names = append(names, d.Name())
		}
		return strings.Join(names, " ")
	}
	if out := gc(false); tags() != "v1 v2 v3 v4" || !strings.Contains(out, "nothing is deleted before somebody has looked at redoubt retention plan") {
		t.Errorf("before the plan was seen there is %s: %s", tags(), out)
	}
	var plan bytes.Buffer
	must(t, PlanRetention(t.Context(), finder, PlanOptions{Storage: imagestore.Configured, Config: cfg, Origins: origins, Result: &plan}))
	for _, want := range []string{
		"stays team/app:v1: protected (retention.rules[0], user-data.yaml:5)",
		"goes  team/app:v2: not among the 1 most recent (retention.rules[0], user-data.yaml:5): ",
		"stays team/app:v4: among the 1 most recent",
		"2 of 4 tags go, with 2 manifests; this frees ",
	} {
		if !strings.Contains(plan.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, &plan)
		}
	}
	if out := gc(true); tags() != "v1 v2 v3 v4" || !strings.Contains(out, "retention: 2 tags (") {
		t.Errorf("after a dry run there is %s: %s", tags(), out)
	}
	if out := gc(false); tags() != "v1 v4" || !strings.Contains(out, "retention: 2 tags were deleted (") {
		t.Errorf("there is %s: %s", tags(), out)
	}
	// What went by mistake is taken back.
	must(t, RestoreTrash(t.Context(), finder, TrashOptions{Storage: imagestore.Configured, Result: &plan}, trash.Wanted{Repository: "team/app", Tag: "v2"}))
	if tags() != "v1 v2 v4" {
		t.Errorf("after the restore there is %s", tags())
	}
	must(t, registry.Pull(t, "team/app:v2"))
	// Other rules must be looked at again.
	cfg.Retention.Rules[0].Protect = nil
	data, err = json.Marshal(render.Retention(cfg))
	must(t, err)
	must(t, os.WriteFile(rules, data, 0o644))
	if gc(false); tags() != "v1 v2 v4" {
		t.Errorf("rules that nobody has seen left %s", tags())
	}
	cfg.Retention.Enforce = true
	data, err = json.Marshal(render.Retention(cfg))
	must(t, err)
	must(t, os.WriteFile(rules, data, 0o644))
	if gc(false); tags() != "v2" { // it was written last
		t.Errorf("rules that are enforced left %s", tags())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
