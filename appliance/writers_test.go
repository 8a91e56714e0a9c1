package appliance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are the packages that make, write files themselves, and why.
var elsewhere = map[string]string{
	"files":                 "is the one writer",
	"configuration/disk":    "replaces a set of files: all are staged and synced before the first is renamed",
	"storage/imagecopy":     "writes many files and syncs their file system once, with syncfs(2)",
	"storage/bucket":        "puts parts of uploads on the disk that have no name and need not last",
	"storage/driver":        "tries whether it can do so",
	"certificates/cert":     "puts a certificate authority aside, and syncs its directory once",
	"certificates/clientca": "puts certificates where a person asks for them",
	"system/imagestore":     "hands keys to package bucket in files that last as long as the call",
	"":                      "hands keys to package bucket in files that last as long as the call",
}

// What is written to last is written by one package, which syncs file and directory:
// a second writer would forget a step, as one did with the directory of a disk's
// identity.
func TestOneWriterOfFiles(t *testing.T) {
	calls := map[string][]string{
		"os":                            {"Rename", "CreateTemp", "WriteFile", "Create"},
		"golang.org/x/sys/unix":         {"Rename", "Flock"},
		"syscall":                       {"Rename", "Flock"},
		"github.com/gofrs/flock":        {"New"},
		"github.com/google/renameio/v2": {"WriteFile"},
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		names := map[string][]string{} // what a file calls a package, and what of it counts
		for _, i := range file.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			name := filepath.Base(imported)
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = calls[imported]
		}
		dir := strings.TrimPrefix(filepath.Dir(path), ".")
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, call := range names[from.Name] {
				if call != selector.Sel.Name {
					continue
				}
				seen[dir] = true
				if elsewhere[dir] == "" || call == "Flock" && dir != "files" {
					t.Errorf("%v: %s.%s: use package files, or say in this test why not", set.Position(n.Pos()), from.Name, call)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range elsewhere {
		if !seen[dir] && dir != "configuration/disk" { // which renames below an os.Root
			t.Errorf("this test names appliance/%s, which needs no exception", dir)
		}
	}
}
