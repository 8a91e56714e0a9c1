package debian

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseSource(t *testing.T) {
	for line, want := range map[string][2]string{
		"deb http://m.test/debian trixie main contrib":                  {"http://m.test/debian", "trixie"},
		"deb [arch=amd64 signed-by=/k.gpg] http://m.test/d trixie main": {"http://m.test/d", "trixie"},
		"deb [trusted=yes] copy:/srv/m trixie main":                     {"copy:/srv/m", "trixie"},
		"deb-src http://m.test/debian trixie main":                      {},
		"# deb http://m.test/debian trixie main":                        {},
		"deb [arch=amd64":                                               {},
		"":                                                              {},
	} {
		uri, suite, ok := parseSource(line)
		if [2]string{uri, suite} != want || ok != (want[0] != "") {
			t.Errorf("%q: got %q %q %v", line, uri, suite, ok)
		}
	}
}

const inRelease = `-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Origin: Debian
Suite: stable
Codename: trixie
Date: Sat,  6 Sep 2025 09:14:33 UTC
MD5Sum:
 0123 100 main/binary-amd64/Packages
SHA256:
 aaaa 100 main/binary-amd64/Packages
 bbbb 100 main/binary-amd64/Packages.xz
 cccc 100 main/binary-arm64/Packages
`

func TestParseRelease(t *testing.T) {
	rel, err := parseRelease([]byte(inRelease), "amd64")
	want := time.Date(2025, 9, 6, 9, 14, 33, 0, time.UTC)
	if err != nil || !rel.date.Equal(want) || rel.lists != "aaaa" {
		t.Errorf("got %+v, %v", rel, err)
	}
	if _, err := parseRelease([]byte(inRelease), "riscv64"); err == nil {
		t.Error("a release without the architecture's list was taken")
	}
	if _, err := parseRelease([]byte("SHA256:\n a 1 main/binary-amd64/Packages\n"), "amd64"); err == nil {
		t.Error("a release without a date was taken")
	}
}

// TestKey changes each part of a request: every change is another archive.
func TestKey(t *testing.T) {
	base := Request{Suite: Suite{"trixie", "amd64", nil}, State: State{"d", time.Unix(1, 0)}, Variant: "minbase", Packages: []string{"a", "b"}}
	seen := map[string]bool{base.key(): true}
	for _, change := range []func(*Request){
		func(r *Request) { r.Suite.Sources = []string{"deb x y z"} },
		func(r *Request) { r.State.Digest = "e" },
		func(r *Request) { r.State.Date = time.Unix(2, 0) },
		func(r *Request) { r.Variant = "extract" },
		func(r *Request) { r.Packages = []string{"a b"} },
		func(r *Request) { r.Exclude = []string{"/x"} },
		func(r *Request) { r.Include = []string{"/x"} },
	} {
		r := base
		change(&r)
		if seen[r.key()] {
			t.Errorf("the change to %+v is not in the key", r)
		}
		seen[r.key()] = true
	}
}

func TestPrune(t *testing.T) {
	cache := t.TempDir()
	for i, name := range []string{"minbase-1.tar", "minbase-2.tar", "minbase-3.tar", "extract-1.tar"} {
		p := filepath.Join(cache, name)
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, time.Unix(int64(i), 0), time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Prune(cache, "minbase", 2); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(cache, "*"))
	if len(left) != 3 || filepath.Base(left[1]) != "minbase-2.tar" {
		t.Errorf("left: %v", left)
	}
}
