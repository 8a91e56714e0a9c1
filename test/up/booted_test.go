package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// What is said to boot is what boots: a machine keeps the image that its disk was made
// from.
func TestBooted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := vm.Machine{Dir: dir, Image: filepath.Join(dir, "redoubt-2.qcow2")}
	write("redoubt-2.qcow2", "new")
	for _, c := range []struct {
		name, disk, origin, what string
		hint                     bool
	}{
		{"a new machine", "", "", m.Image, false},
		{"a disk of nobody knows what", "disk.qcow2", "", "the disk in " + dir, false},
		{"the same image", "disk.qcow2", "redoubt-2.qcow2 11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437",
			"the disk in " + dir + ", made from redoubt-2.qcow2", false},
		{"an older one", "disk.qcow2", "redoubt-1.qcow2 00", "the disk in " + dir + ", made from an older redoubt-1.qcow2", true},
	} {
		if c.disk != "" {
			write(c.disk, "")
			write("image.txt", c.origin)
		}
		what, hint := booted(m)
		if what != c.what || (hint != "") != c.hint || c.hint && !strings.Contains(hint, "rm -r "+dir) {
			t.Errorf("%s: %q, %q", c.name, what, hint)
		}
	}
}
