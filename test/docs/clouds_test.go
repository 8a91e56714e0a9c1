//go:build integration

package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var shell = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// TestPagesOfClouds runs what the page of a cloud runs where the image was built, on a
// disk made for it. Each page says of its other commands that they were not run.
func TestPagesOfClouds(t *testing.T) {
	pages, err := filepath.Glob(top + "/docs/clouds/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	redoubt := filepath.Join(t.TempDir(), "redoubt")
	if out, err := exec.Command("go", "build", "-o", redoubt, top+"/cmd/redoubt").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			readCloud(t, string(data), redoubt)
		})
	}
}

// readCloud reads a page as its reader does, in a directory that has the image.
func readCloud(t *testing.T, page, redoubt string) {
	const image = "dist/redoubt-VERSION-amd64.qcow2"
	dir := t.TempDir()
	run := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s%v: %s", script, err, out)
		}
	}
	run("mkdir dist && ln -s " + redoubt + " dist/redoubt && qemu-img create -q -f qcow2 " + image + " 16M")
	if documents := block.FindAllStringSubmatch(page, -1); len(documents) != 1 {
		t.Fatalf("%d documents, want the one that is registry.yaml", len(documents))
	} else if err := os.WriteFile(filepath.Join(dir, "registry.yaml"), []byte(documents[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	validated := false
	for _, match := range shell.FindAllStringSubmatch(page, -1) {
		switch where, script, _ := strings.Cut(match[1], "\n"); where {
		case "# here":
			run(script)
			validated = validated || strings.Contains(script, "redoubt validate registry.yaml")
		case "# not run here":
			syntax := exec.CommandContext(t.Context(), "bash", "-n")
			syntax.Stdin = strings.NewReader(script)
			if out, err := syntax.CombinedOutput(); err != nil {
				t.Errorf("%s%v: %s", script, err, out)
			}
		default:
			t.Errorf("it is not said whether this was run:\n%s", match[1])
		}
	}
	if !validated || !strings.Contains(page, "\n## What was run\n") {
		t.Error("the user-data is not validated, or the page does not say what was run")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err != nil || !json.Valid(data) {
			t.Errorf("%s is no JSON: %v", file, err)
		}
	}
}
