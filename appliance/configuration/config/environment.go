package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v3"
)

// Overlay is what environment: and then registry: say, in distribution's own
// words, as an RFC 7386 patch for the rendered configuration: nil takes a
// setting away. MergePatch lays it on.
func (c Config) Overlay() map[string]any {
	var report Report
	env := translate(c.Environment, spot{report: &report})
	overlay, _ := merge(env, valueOf(c.Registry), true).patch().(map[string]any)
	return withoutLifted(overlay)
}

// MergePatch lays patch on base as RFC 7386 has it: maps are merged, all else
// is replaced, nil takes away. Neither argument is changed.
func MergePatch(base, patch map[string]any) map[string]any {
	merged, _ := merge(valueOf(base), valueOf(patch), false).patch().(map[string]any)
	return merged
}

const stockPrefix = "REGISTRY_"

// translator makes an overlay of REGISTRY_* variables. The stock registry's
// own reader loses lists and the case of keys, and panics on some names.
type translator struct {
	checker
	here  spot
	index int
	name  string
}

// branch is a part of the overlay while variables are put into it.
type branch struct {
	names    []string
	branches map[string]*branch
	list     bool
	leaf     *yaml.Node
}

// translate turns variables into an overlay that is checked as registry: is.
func translate(vars []Variable, at spot) *value {
	t := &translator{checker: checker{report: at.report}, here: at.at("environment")}
	root := &branch{}
	seen := map[string]bool{}
	for i, v := range vars {
		t.index, t.name = i, v.Name
		rest, ok := strings.CutPrefix(v.Name, stockPrefix)
		switch {
		case v.Name == "":
			t.refuse("name", "required: such as REGISTRY_LOG_LEVEL")
		case !ok || rest == "":
			t.refuse("name", "must begin with REGISTRY_")
		case seen[v.Name]:
			t.refuse("name", "this variable was given before")
		default:
			t.place(root, reflect.TypeFor[configuration.Configuration](), strings.Split(rest, "_"), v.Value)
		}
		seen[v.Name] = true
	}
	out := t.check(t.node(root), reflect.TypeFor[configuration.Configuration](), "environment", 1)
	if out.kind != group {
		return newGroup(Origin{})
	}
	return out
}

func (t *translator) refuse(key, message string) {
	t.here.item(t.index).at(key).fail("%s", message)
}

// place puts a value where the parts of its name lead.
func (t *translator) place(b *branch, typ reflect.Type, parts []string, value string) {
	typ = checkedAs(typ, "")
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if len(parts) == 0 {
		if b.leaf != nil || b.branches != nil {
			t.refuse("name", "another variable sets this, or a part of it")
			return
		}
		b.leaf = t.leaf(typ, value)
		return
	}
	if b.leaf != nil {
		t.refuse("name", "another variable sets the whole that this is a part of")
		return
	}
	switch {
	case typ.Kind() == reflect.Struct && typ != durationType:
		var known []string
		for _, f := range fieldsOf(typ) {
			if strings.ToUpper(f.key) == parts[0] {
				t.place(b.at(f.key), f.typ, parts[1:], value)
				return
			}
			known = append(known, strings.ToUpper(f.key))
		}
		t.unknown(parts, known)
	case typ.Kind() == reflect.Slice && decimal.MatchString(parts[0]):
		b.list = true
		t.place(b.at(parts[0]), typ.Elem(), parts[1:], value)
	case typ.Kind() == reflect.Map:
		t.place(b.at(strings.Join(parts, "_")), typ.Elem(), nil, value)
	default:
		t.unknown(parts, nil)
	}
}

// unknown refuses a name, with the nearest that there is.
func (t *translator) unknown(parts, known []string) {
	hint := ""
	if word := nearest(parts[0], known); word != "" {
		whole := strings.TrimSuffix(t.name, strings.Join(parts, "_")) + word
		if len(parts) > 1 { // the rest may be anything
			whole += "_" + unnamed
		}
		hint = ` (did you mean "` + whole + `"?)`
	}
	t.refuse("name", "distribution has no such setting"+hint)
}

func (b *branch) at(name string) *branch {
	if b.branches == nil {
		b.branches = map[string]*branch{}
	}
	if b.branches[name] == nil {
		b.branches[name] = &branch{}
		b.names = append(b.names, name)
	}
	return b.branches[name]
}

// leaf is a variable's value as a node: text as it stands, all else as YAML.
func (t *translator) leaf(typ reflect.Type, value string) *yaml.Node {
	at := t.here.origins.At(t.here.item(t.index).at("value").path)
	t.file = at.File
	if typ.Kind() == reflect.String || typ == durationType {
		return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: value, Line: at.Line, Column: at.Column}
	}
	node, entry := scan("", []byte(value))
	if entry != nil || node == nil || node.ShortTag() == "!!null" {
		t.refuse("value", "must be a value in YAML")
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: at.Line, Column: at.Column}
	}
	move(node, at)
	return node
}

// move gives a node and all below it the place of the variable's value.
func move(n *yaml.Node, at Origin) {
	n.Line, n.Column = at.Line, at.Column
	for _, child := range n.Content {
		move(child, at)
	}
}

// node is a branch as YAML. A list has its items in the order of their numbers.
func (t *translator) node(b *branch) *yaml.Node {
	if b.leaf != nil {
		return b.leaf
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	if b.list {
		n = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for i := range len(b.names) {
			item := b.branches[strconv.Itoa(i)]
			if item == nil {
				t.refuse("name", "the numbers of a list must go from 0 without a gap")
				break
			}
			n.Content = append(n.Content, t.node(item))
		}
	}
	if !b.list {
		for _, name := range b.names {
			child := t.node(b.branches[name])
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: child.Line, Column: child.Column}, child)
		}
	}
	if len(n.Content) > 0 {
		last := n.Content[len(n.Content)-1]
		n.Line, n.Column = last.Line, last.Column
	}
	return n
}
