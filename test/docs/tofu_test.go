package docs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// The examples for OpenTofu are HCL in which each name is declared, and what they give to
// the machine is valid. Whether a provider takes them is not known here.
func TestTofuExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(top + "/docs/examples/tofu/*/main.tf")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, mistakes := hclsyntax.ParseConfig(text, file, hcl.InitialPos)
		if mistakes.HasErrors() {
			t.Fatal(mistakes)
		}
		body := parsed.Body.(*hclsyntax.Body)
		known := map[string]bool{"path.module": true}
		for _, b := range body.Blocks {
			switch b.Type {
			case "variable":
				known["var."+b.Labels[0]] = true
			case "data":
				known["data."+b.Labels[0]+"."+b.Labels[1]] = true
			case "resource":
				known[b.Labels[0]+"."+b.Labels[1]] = true
			}
		}
		for _, b := range body.Blocks {
			for _, name := range used(b) {
				if !known[name] {
					t.Errorf("%s: %s is not declared", file, name)
				}
			}
		}
		document := filepath.Join(filepath.Dir(file), "registry.yaml")
		data, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, report := config.Parse([]config.Layer{{Name: document, Data: data}}); len(report) > 0 {
			t.Error(report)
		}
	}
}

// used are the names that the values of a block lead to.
func used(b *hclsyntax.Block) []string {
	var names []string
	// A word alone is a type or an argument's name; these two are of for_each and dynamic.
	own := map[string]bool{"each": true, "rule": true}
	_ = hclsyntax.VisitAll(b.Body, func(n hclsyntax.Node) hcl.Diagnostics {
		if x, ok := n.(*hclsyntax.ScopeTraversalExpr); ok && len(x.Traversal) > 1 && !own[x.Traversal.RootName()] {
			names = append(names, dotted(x.Traversal))
		}
		return nil
	})
	return names
}

// dotted is the part of a traversal that names what it leads to.
func dotted(t hcl.Traversal) string {
	parts := 2
	if t.RootName() == "data" {
		parts = 3
	}
	name := t.RootName()
	for _, step := range t[1:min(parts, len(t))] {
		if attribute, ok := step.(hcl.TraverseAttr); ok {
			name += "." + attribute.Name
		}
	}
	return name
}
