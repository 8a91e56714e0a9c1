package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// state is how a path begins that a machine keeps something at.
var state = regexp.MustCompile(`^/(run|var/lib|etc/redoubt|usr/lib/redoubt)(/[A-Za-z0-9@._-]+)+$`)

// source is the Go code of some directories, as far as constants go.
type source struct {
	files map[*ast.File]bool
	known map[string]string // values of constants, under package.Name
}

// Paths lists the paths of a machine's state that stand in the code below dirs, as
// constants or as literals.
func Paths(dirs ...string) ([]string, error) {
	s := source{map[*ast.File]bool{}, map[string]string{}}
	for _, dir := range dirs {
		if err := s.read(dir); err != nil {
			return nil, err
		}
	}
	for before := -1; before != len(s.known); { // a constant may be made of another one
		before = len(s.known)
		for f := range s.files {
			s.constants(f)
		}
	}
	found := map[string]bool{}
	for _, value := range s.known {
		found[value] = true
	}
	for f := range s.files {
		ast.Inspect(f, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				found[s.value(f.Name.Name, e)] = true
			}
			return true
		})
	}
	var paths []string
	for path := range found {
		if state.MatchString(path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func (s source) read(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil && f.Name.Name != elsewhere {
			s.files[f] = true
		}
		return err
	})
}

// elsewhere is the package whose paths are those of other registries' containers; it
// touches no file of a machine, which TestRenderersAndPlansTouchNothing holds.
const elsewhere = "foreign"

// constants adds the constants of f that can be told.
func (s source) constants(f *ast.File) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, e := range v.Values {
				if text := s.value(f.Name.Name, e); text != "" {
					s.known[f.Name.Name+"."+v.Names[i].Name] = text
				}
			}
		}
	}
}

// value is a string expression of package pkg, or empty if it is none that can be
// told.
func (s source) value(pkg string, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil || e.Kind != token.STRING {
			return ""
		}
		return text
	case *ast.Ident:
		return s.known[pkg+"."+e.Name]
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return s.known[x.Name+"."+e.Sel.Name]
		}
	case *ast.BinaryExpr:
		x, y := s.value(pkg, e.X), s.value(pkg, e.Y)
		if e.Op == token.ADD && x != "" && y != "" {
			return x + y
		}
	}
	return ""
}
