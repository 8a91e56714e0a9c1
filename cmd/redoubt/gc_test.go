//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/test/seed"
)

// on runs a verb, and returns what it printed.
func on(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := program(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String() + errs.String(), err
}

// What was deleted goes to the trash, comes back from it, and goes for good.
func TestGC(t *testing.T) {
	root := t.TempDir()
	registry := seed.Serve(t, seed.Directory(root))
	registry.Push(t, "a/b:latest", seed.Image(t, 5000, 2))
	garbage := digest.FromString("garbage")
	path := filepath.Join(root, "docker/registry/v2/blobs/sha256", garbage.Encoded()[:2], garbage.Encoded(), "data")
	write := func() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("garbage"), 0o644); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	there := func() bool { _, err := os.Stat(path); return err == nil }
	run := func(args ...string) string {
		t.Helper()
		out, err := on(t, append(args, "--storage", root)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	write()
	var sum struct{ TakenBlobs, TakenBytes int64 }
	if err := json.Unmarshal([]byte(lastLine(run("gc", "--dry-run", "--json"))), &sum); err != nil || sum.TakenBlobs != 1 || sum.TakenBytes != 7 || !there() {
		t.Errorf("a dry run: %v %+v", err, sum)
	}
	run("gc")
	if there() || !strings.Contains(run("trash", "list"), garbage.String()) {
		t.Error("it is not in the trash")
	}
	run("trash", "restore")
	if !there() || run("trash", "list") != "" {
		t.Error("it is not back")
	}
	run("gc")
	if out := run("trash", "empty"); there() || run("trash", "list") != "" || !strings.Contains(out, "purged: 1 blobs") {
		t.Errorf("the trash is not empty: %s", out)
	}
	write()
	if out, err := on(t, "gc", "--now", "--storage", root); err == nil || !strings.Contains(out, "--yes says that it is meant") || !there() {
		t.Errorf("nobody was asked: %s", out)
	}
	if out := run("gc", "--now", "--yes"); there() || run("trash", "list") != "" || !strings.Contains(out, "purged: 1 blobs (7 B); in the trash: 0 blobs") {
		t.Errorf("it is not freed at once: %s", out)
	}
	for _, bad := range [][]string{{"gc", "--grace", "5m"}, {"gc", "--trash", "0s"}, {"gc", "--parallel", "0"}, {"gc", "--now", "--yes", "--dry-run"}, {"trash", "restore", "a/b:latest"}} {
		if out, err := on(t, append(bad, "--storage", root)...); err == nil || !strings.Contains(out, "cannot") {
			t.Errorf("%v: %v %s", bad, err, out)
		}
	}
}

// lastLine is the result, behind what was said of the way.
func lastLine(out string) string {
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "{") {
			return line
		}
	}
	return ""
}
