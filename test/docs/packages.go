package docs

import (
	"fmt"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Packages returns a table of the packages below dirs of the repository at root: a
// line for each, with the first sentence of its comment.
func Packages(root string, dirs ...string) (string, error) {
	var b strings.Builder
	b.WriteString("| package | what it does |\n|---|---|\n")
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || d.Name() == "testdata" {
				return fs.SkipDir // another module's
			}
			sentence, err := synopsis(path)
			if err != nil || sentence == "" {
				return err
			}
			name, err := filepath.Rel(root, path)
			fmt.Fprintf(&b, "| [`%s`](../%s) | %s |\n", name, name, sentence)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("cannot list the packages of %s: %w", dir, err)
		}
	}
	return b.String(), nil
}

// synopsis is the first sentence of the comment of the package in dir, without its
// name; empty for a directory without Go files.
func synopsis(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		return "", err
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return "", err
		}
		if f.Doc == nil {
			continue
		}
		sentence := new(doc.Package).Synopsis(f.Doc.Text())
		words := strings.Fields(sentence)
		if len(words) > 2 && slices.Contains([]string{"Package", "Command"}, words[0]) {
			words = words[2:]
		}
		return strings.Join(words, " "), nil
	}
	return "", fmt.Errorf("%s has no package comment", dir)
}
