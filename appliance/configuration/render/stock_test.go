package render_test

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// What people publish for the stock registry, where it is valid here, becomes this
// registry.yml.
func TestStockSettingsAreRendered(t *testing.T) {
	given, err := txtar.ParseFile("../config/testdata/stock.txtar")
	if err != nil {
		t.Fatal(err)
	}
	got := &txtar.Archive{Comment: []byte("registry.yml of the valid cases of config/testdata/stock.txtar.\n\n")}
	for _, f := range given.Files {
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok {
			continue
		}
		cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: f.Data}})
		if report.Err() != nil {
			continue
		}
		files, err := render.Tree(cfg, facts(cfg))
		if err != nil {
			t.Errorf("%s is valid, and cannot be rendered: %v", name, err)
			continue
		}
		check(t, files)
		for _, file := range files {
			if file.Path == paths.RegistryYML {
				got.Files = append(got.Files, txtar.File{Name: name, Data: file.Data})
			}
		}
	}
	compare(t, "testdata/stock/registry.txtar", txtar.Format(got))
}
