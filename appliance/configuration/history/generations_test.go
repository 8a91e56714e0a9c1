package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// seal is a lock for tests, with a key.
type seal struct{ key byte }

func (s seal) Seal(data []byte) ([]byte, error) {
	out := []byte{s.key}
	for _, b := range data {
		out = append(out, ^b)
	}
	return out, nil
}

func (s seal) Open(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != s.key {
		return nil, errors.New("another key")
	}
	data := []byte{}
	for _, b := range sealed[1:] {
		data = append(data, ^b)
	}
	return data, nil
}

// What was sealed with another key is as good as none, and says so; the next save
// seals it again.
func TestAnotherKey(t *testing.T) {
	root := t.TempDir()
	doc := []byte("a secret document")
	if _, err := history.Save(root, seal{1}, doc, history.Generation{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if data, _ := os.ReadFile(path); bytes.Contains(data, []byte("secret")) {
				t.Errorf("%s holds it in the clear", path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if doc, err := history.LastGood(root, seal{2}); err == nil || doc != nil || !strings.Contains(err.Error(), paths.LastGood) {
		t.Errorf("got %q, %v", doc, err)
	}
	if _, err := history.Save(root, seal{2}, doc, history.Generation{}); err != nil {
		t.Fatal(err)
	}
	if again, err := history.LastGood(root, seal{2}); err != nil || !bytes.Equal(again, doc) {
		t.Errorf("got %q, %v", again, err)
	}
}

func TestSave(t *testing.T) {
	root := t.TempDir()
	if doc, err := history.LastGood(root, seal{1}); err != nil || doc != nil {
		t.Fatalf("got %q, %v", doc, err)
	}
	if g, err := history.Newest(root); err != nil || g.Number != 0 {
		t.Fatalf("got %+v, %v", g, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 12 {
		doc := fmt.Appendf(nil, "document %d", i)
		for again := range 2 { // the same again is no new generation
			g, err := history.Save(root, seal{1}, doc, history.Generation{Applied: at.Add(time.Duration(again) * time.Hour), Sources: []string{"user-data"}})
			if err != nil || g.Number != i+1 || !g.Applied.Equal(at) {
				t.Fatalf("save %d: got %+v, %v", i, g, err)
			}
		}
	}
	if doc, err := history.LastGood(root, seal{1}); err != nil || string(doc) != "document 11" {
		t.Errorf("last good: %q, %v", doc, err)
	}
	if g, err := history.Newest(root); err != nil || g.Number != 12 || g.Sources[0] != "user-data" {
		t.Errorf("newest: %+v, %v", g, err)
	}
	kept, err := history.List(root)
	if err != nil || len(kept) != 10 || kept[0].Number != 12 || kept[9].Number != 3 {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	if doc, err := history.Document(root, seal{1}, 3); err != nil || string(doc) != "document 2" {
		t.Errorf("the oldest: %q, %v", doc, err)
	}
	if _, err := history.Document(root, seal{1}, 2); err == nil || !strings.Contains(err.Error(), "no generation 2") {
		t.Errorf("one that is gone: %v", err)
	}
	info, err := os.Stat(filepath.Join(root, paths.LastGood))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("last good: %v, %v", info.Mode(), err)
	}
}
