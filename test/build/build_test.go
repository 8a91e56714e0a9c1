//go:build build

// Package build_test builds the image with what this repository has, and looks
// at what comes out. It needs root, and dist filled by scripts/image.
package build_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repo is the repository, whose scripts the tests run.
const repo = "../.."

// command runs a program of the repository in it and returns all it says.
func command(t *testing.T, env []string, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// packer runs Packer as scripts/packer.sh does.
func packer(t *testing.T, args ...string) (string, error) {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(repo, ".cache"))
	if err != nil {
		t.Fatal(err)
	}
	return command(t, []string{
		"PACKER_PLUGIN_PATH=" + dir + "/plugins", "PACKER_CONFIG_DIR=" + dir + "/packer", "CHECKPOINT_DISABLE=1",
	}, append([]string{".cache/tools/packer"}, args...)...)
}

// image is the path of the one image in dist.
func image(t *testing.T) string {
	t.Helper()
	images, err := filepath.Glob(filepath.Join(repo, "dist/redoubt-*-amd64.qcow2"))
	if err != nil || len(images) != 1 {
		t.Fatalf("there must be one image in dist: %v (%v); make image builds it", images, err)
	}
	return images[0]
}

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// snapshot is the image and its lists in dist, by digest.
func snapshot(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repo, "dist/*"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range files {
		// The programs are built on their own.
		if name := filepath.Base(f); name != "redoubt" && name != "packer-plugin-redoubt" {
			all[name] = digest(t, f)
		}
	}
	return all
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, butane, want string }{
		{"the appliance", "butane/appliance.bu", ""},
		{"unknown key", "test/build/testdata/unknown.bu", "unknown.bu:4:3: $.storage.filez: unused key filez"},
		{"disks", "test/build/testdata/disks.bu", "cannot honour storage.disks"},
		{"no file", "test/build/testdata/none.bu", "none.bu: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := packer(t, "validate", "-var", "version=1.2.3", "-var", "butane="+c.butane, "-only=redoubt.redoubt-debian.image", "packer")
			out = strings.Join(strings.Fields(out), " ") // Packer breaks lines
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(out, c.want)) {
				t.Errorf("want %q, got %v: %s", c.want, err, out)
			}
		})
	}
	out, err := packer(t, "validate", "-var", "version=not a version", "-only=redoubt.redoubt-debian.image", "packer")
	out = strings.Join(strings.Fields(out), " ")
	if err == nil || !strings.Contains(out, `version: "not a version" is not a word`) {
		t.Errorf("a bad version: %v: %s", err, out)
	}
}

// TestTwiceTheSame builds once with an empty cache and once from it.
func TestTwiceTheSame(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	build := func(out string) string {
		t.Helper()
		said, err := packer(t, "build", "-color=false", "-only=redoubt.redoubt-debian.image",
			"-var", "version=1.2.3", "-var", "cache="+cache, "-var", "output="+out, "packer")
		if err != nil {
			t.Fatal(said)
		}
		return said
	}
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	build(one)
	if said := build(two); strings.Count(said, "from the cache") != 2 {
		// Debian published something in between: that is another input.
		if err := os.RemoveAll(two); err != nil {
			t.Fatal(err)
		}
		one = two + "-again"
		build(one)
		if said := build(two); strings.Count(said, "from the cache") != 2 {
			t.Fatalf("the cache is not used:\n%s", said)
		}
	}
	for _, suffix := range []string{".qcow2", ".packages", ".spdx.json"} {
		name := "redoubt-1.2.3-amd64" + suffix
		if a, b := digest(t, filepath.Join(one, name)), digest(t, filepath.Join(two, name)); a != b {
			t.Errorf("%s: %s with an empty cache, %s from it", name, a, b)
		}
	}
	left, err := filepath.Glob(filepath.Join(cache, "work-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("scratch files are left: %v (%v)", left, err)
	}
}

// TestSecondTimeNothing holds that an image which is up to date is left alone.
func TestSecondTimeNothing(t *testing.T) {
	before := snapshot(t)
	out, err := command(t, nil, "scripts/image")
	if err != nil || !strings.Contains(out, "is up to date") {
		t.Errorf("got %v: %s", err, out)
	}
	sameFiles(t, before)
}

func sameFiles(t *testing.T, before map[string]string) {
	t.Helper()
	after := snapshot(t)
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("dist/%s was changed or removed", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("dist/%s is new", name)
		}
	}
}

// TestFormat holds what clouds ask of a template.
func TestFormat(t *testing.T) {
	path := image(t)
	out, err := exec.Command("qemu-img", "info", "--output=json", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Format      string `json:"format"`
		VirtualSize int64  `json:"virtual-size"`
		Backing     string `json:"backing-filename"`
		Snapshots   []any  `json:"snapshots"`
		Specific    struct {
			Data struct {
				Compat      string `json:"compat"`
				Compression string `json:"compression-type"`
				Lazy        bool   `json:"lazy-refcounts"`
				External    string `json:"data-file"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	data := info.Specific.Data
	if info.Format != "qcow2" || info.VirtualSize != 10<<30 || data.Compat != "1.1" || data.Compression != "zstd" {
		t.Errorf("not the qcow2 it should be: %s", out)
	}
	if info.Backing != "" || info.Snapshots != nil || data.Lazy || data.External != "" {
		t.Errorf("more than a plain qcow2: %s", out)
	}
	stat, err := os.Stat(path)
	if err != nil || stat.Size() > 130_000_000 {
		t.Errorf("the image has %d bytes, 130 MB are the most (%v)", stat.Size(), err)
	}
	if out, err := exec.Command("qemu-img", "check", path).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("No errors")) {
		t.Errorf("qemu-img check: %v: %s", err, out)
	}
	// Nothing is preallocated: most of the disk is not in the file.
	if out, err = exec.Command("qemu-img", "map", "--output=json", path).Output(); err != nil {
		t.Fatal(err)
	}
	var extents []struct {
		Length     int64
		Present    bool
		Compressed bool
	}
	if err := json.Unmarshal(out, &extents); err != nil {
		t.Fatal(err)
	}
	var present int64
	for _, e := range extents {
		if e.Present {
			present += e.Length
		}
	}
	if present == 0 || present > 1<<30 {
		t.Errorf("%d MiB of the disk are allocated", present>>20)
	}
}
