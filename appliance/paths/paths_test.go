package paths_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// own is a path of ours, with or without the slash that it begins with.
var own = regexp.MustCompile(`^/?(run|etc|usr/lib|var/lib)/redoubt(-[a-z]+)?(/[A-Za-z0-9@._/-]*)?$`)

// What is written in two places is changed in one of them.
func TestEachPathIsWrittenOnce(t *testing.T) {
	names := map[string]bool{paths.RegistryUser: true, paths.S3Credential: true, paths.RedisCredential: true, paths.MachineID: true, paths.MachineID[1:]: true}
	read := 0
	look := func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || filepath.Base(filepath.Dir(path)) == "paths" {
			return err
		}
		read++
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil && (own.MatchString(text) || names[text]) {
					t.Errorf("%s: %s belongs into package paths", set.Position(l.Pos()), l.Value)
				}
			}
			return true
		})
		return nil
	}
	for _, dir := range []string{"..", "../../cmd/redoubt"} {
		if err := filepath.WalkDir(dir, look); err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("this test has read %d files: it no longer finds them", read)
	}
}
