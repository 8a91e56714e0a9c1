package main

import (
	"fmt"
	"os"
	"slices"
)

// program is what Pebble belongs to here: this process.
type program struct{ cleanups []func() }

// Helper is for tests.
func (p *program) Helper() {}

// Fatal says what is wrong and ends the program.
func (p *program) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"redoubt:"}, args...)...)
	p.end()
	os.Exit(1)
}

// Fatalf is Fatal with a format.
func (p *program) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }

// Cleanup has f called at the end, before what was registered earlier.
func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// TempDir is a new directory that goes at the end.
func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", "pebble-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (p *program) end() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
	p.cleanups = nil
}
