package generations_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/generations"
)

func TestSave(t *testing.T) {
	root := t.TempDir()
	if doc, err := generations.LastGood(root); err != nil || doc != nil {
		t.Fatalf("got %q, %v", doc, err)
	}
	if g, err := generations.Newest(root); err != nil || g.Number != 0 {
		t.Fatalf("got %+v, %v", g, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 8 {
		doc := fmt.Appendf(nil, "document %d", i)
		for again := range 2 { // the same again is no new generation
			g, err := generations.Save(root, doc, generations.Generation{Applied: at.Add(time.Duration(again) * time.Hour), Sources: []string{"user-data"}})
			if err != nil || g.Number != i+1 || !g.Applied.Equal(at) {
				t.Fatalf("save %d: got %+v, %v", i, g, err)
			}
		}
	}
	if doc, err := generations.LastGood(root); err != nil || string(doc) != "document 7" {
		t.Errorf("last good: %q, %v", doc, err)
	}
	if g, err := generations.Newest(root); err != nil || g.Number != 8 || g.Sources[0] != "user-data" {
		t.Errorf("newest: %+v, %v", g, err)
	}
	entries, err := os.ReadDir(filepath.Join(root, generations.Dir))
	if err != nil || len(entries) != 5 || entries[0].Name() != "4" {
		t.Errorf("kept: %v, %v", entries, err)
	}
	info, err := os.Stat(filepath.Join(root, generations.LastGoodPath))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("last good: %v, %v", info.Mode(), err)
	}
}
