package sbom

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/redoubt-registry/redoubt/packer/debian"
)

// TestWrite describes an image with a Go program in it.
func TestWrite(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"usr/share/doc/known/copyright":   "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ or Expat\n\nFiles: x\nLicense: BSD-3-clause\n",
		"usr/share/doc/strange/copyright": "Format: x\nLicense: house-rules\n",
		"usr/share/doc/prose/copyright":   "This package was made by hand.\n",
	} {
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(root, "program"), "./testdata/program")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build a program: %v: %s", err, out)
	}
	img := Image{
		Name: "redoubt", Version: "1.0.0", Created: time.Unix(1, 0), Root: root, Distribution: "debian-13", Programs: []string{"/program"},
	}
	for _, name := range []string{"known", "strange", "prose", "libstdc++6"} {
		img.Packages = append(img.Packages, debian.Package{Name: name, Version: "1:2.0+b1", Architecture: "amd64", Source: name, SourceVersion: "2.0", Maintainer: "M <m@m.test>"})
	}
	var one, two bytes.Buffer
	if err := Write(&one, img); err != nil {
		t.Fatal(err)
	}
	if err := Write(&two, img); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("the same image is described in two ways (%v)", err)
	}
	doc, err := json.Read(&one)
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	licences := make(map[string]string)
	for _, p := range doc.Packages {
		licences[p.PackageName] = p.PackageLicenseDeclared
		for _, r := range p.PackageExternalReferences {
			if p.PackageName == "libstdc++6" && r.Locator != "pkg:deb/debian/libstdc%2B%2B6@1%3A2.0%2Bb1?arch=amd64&distro=debian-13" {
				t.Errorf("locator %s", r.Locator)
			}
		}
	}
	for name, want := range map[string]string{
		"known": "(GPL-2.0-or-later OR MIT) AND BSD-3-Clause", "strange": noAssertion, "prose": noAssertion,
		"golang.org/x/sys": noAssertion, "stdlib": noAssertion,
	} {
		if got, ok := licences[name]; !ok || got != want {
			t.Errorf("%s: licence %q, want %q", name, got, want)
		}
	}
	img.Programs = []string{"/none"}
	if err := Write(&two, img); err == nil || !strings.Contains(err.Error(), "/none: it is not in the image") {
		t.Errorf("a missing program: %v", err)
	}
}
