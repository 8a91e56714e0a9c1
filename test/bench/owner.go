package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// owner is what the stores belong to here: a measurement.
type owner struct {
	dir      string
	cleanups []func()
}

// Helper is for tests.
func (o *owner) Helper() {}

// Fatal says what is wrong and ends the program.
func (o *owner) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, append([]any{"redoubt:"}, args...)...)
	o.end()
	os.Exit(1)
}

// Fatalf is Fatal with a format.
func (o *owner) Fatalf(format string, args ...any) { o.Fatal(fmt.Sprintf(format, args...)) }

// Cleanup has f called at the end, before what was registered earlier.
func (o *owner) Cleanup(f func()) { o.cleanups = append(o.cleanups, f) }

// TempDir is a new directory that goes at the end.
func (o *owner) TempDir() string {
	dir, err := os.MkdirTemp(o.dir, "store-")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (o *owner) end() {
	for _, f := range slices.Backward(o.cleanups) {
		f()
	}
	o.cleanups = nil
}
