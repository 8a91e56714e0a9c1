// Package program is what servers for tests belong to where there is no test: a
// process that ends them when it ends.
package program

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Program is this process. It can own what otherwise a test owns.
type Program struct{ cleanups []func() }

// Helper is for tests.
func (p *Program) Helper() {}

// Fatal says what is wrong and ends the program.
func (p *Program) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"redoubt:"}, args...)...)
	p.End()
	os.Exit(1)
}

// Fatalf is Fatal with a format.
func (p *Program) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }

// Cleanup has f called at the end, before what was registered earlier.
func (p *Program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// TempDir is a new directory that goes at the end.
func (p *Program) TempDir() string {
	dir, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// End does all that was registered.
func (p *Program) End() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
	p.cleanups = nil
}

// Repository is the directory of the main module's go.mod, above the present one.
func Repository(t interface {
	Helper()
	Fatal(args ...any)
}) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "tools", "go.mod")); err == nil {
			return dir
		}
		if dir == "/" {
			t.Fatal("cannot find the repository above the present directory")
		}
		dir = filepath.Dir(dir)
	}
}
