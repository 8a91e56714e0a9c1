package config

import (
	"reflect"
	"regexp"
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
	env, _ := translate(c.Environment, spot{report: &report})
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
	at    Origin            // of the name
	named map[string]string // path → the variable that sets it
}

// branch is a part of the overlay while variables are put into it.
type branch struct {
	names    []string
	branches map[string]*branch
	list     bool
	leaf     *yaml.Node
	at       Origin
}

// translate turns variables into an overlay that is checked as registry: is. label is
// a path of it in the words of the variable that sets it.
func translate(vars []Variable, at spot) (overlay *value, label func(path string) string) {
	t := &translator{checker: checker{report: at.report}, here: at.at("environment"), named: map[string]string{}}
	root := &branch{}
	seen := map[string]bool{}
	for i, v := range vars {
		t.index, t.name = i, v.Name
		t.at = t.here.origins.At(t.here.item(i).at("name").path)
		rest, ok := strings.CutPrefix(v.Name, stockPrefix)
		switch known := advise(strings.ToLower(strings.ReplaceAll(rest, "_", "."))); {
		case v.Name == "":
			t.refuse("name", "required: such as REGISTRY_LOG_LEVEL")
		case !ok && foreignAdvice(v.Name) != "":
			t.tell(foreignAdvice(v.Name))
		case !ok || rest == "":
			t.refuse("name", "must begin with REGISTRY_: leave it out, for no other variable has an effect here")
		case seen[v.Name]:
			t.refuse("name", "this variable was given before")
		case known != "":
			t.tell(known)
		default:
			t.place(root, reflect.TypeFor[configuration.Configuration](), "", strings.Split(rest, "_"), v.Value)
		}
		seen[v.Name] = true
	}
	before := len(*t.report)
	out := t.check(t.node(root), reflect.TypeFor[configuration.Configuration](), "environment", 1)
	for i := before; i < len(*t.report); i++ {
		if path, ok := strings.CutPrefix((*t.report)[i].Path, "environment."); ok {
			(*t.report)[i].Path = t.label(path)
		}
	}
	if out.kind != group {
		out = newGroup(Origin{})
	}
	return out, t.label
}

func (t *translator) refuse(key, message string) {
	t.here.item(t.index).at(key).fail("%s", message)
}

// tell refuses a variable that the stock registry has, by its name.
func (t *translator) tell(message string) {
	if t.here.wanting[t.here.item(t.index).path] {
		return
	}
	*t.report = append(*t.report, Entry{File: t.at.File, Line: t.at.Line, Column: t.at.Column,
		Path: "environment." + t.name, Message: message})
}

// label is a path of the overlay as environment.VARIABLE, and what is within that.
func (t *translator) label(path string) string {
	for whole := path; whole != ""; whole = parent(whole) {
		if name := t.named[whole]; name != "" {
			return "environment." + name + path[len(whole):]
		}
	}
	for below, name := range t.named {
		if strings.HasPrefix(below, path+".") {
			return "environment." + name
		}
	}
	return "environment." + path
}

// driverName is the type of a storage without its settings, as in REGISTRY_STORAGE=s3.
var driverName = regexp.MustCompile(`^[a-z0-9]+$`)

// place puts a value where the parts of its name lead. The value of a whole is laid
// below those of its parts, in whatever order they come.
func (t *translator) place(b *branch, typ reflect.Type, path string, parts []string, value string) {
	typ = checkedAs(typ, "")
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if len(parts) == 0 {
		t.named[path] = t.name
		if typ == reflect.TypeFor[storageOptions]() && driverName.MatchString(value) {
			value = "{" + value + ": {}}"
		}
		b.leaf, b.at = t.leaf(typ, value), t.at
		return
	}
	switch {
	case typ.Kind() == reflect.Struct && typ != durationType:
		var known []string
		for _, f := range fieldsOf(typ) {
			name := f.key
			if aliases[join(path, strings.ToLower(parts[0]))] == f.key || strings.ToUpper(f.key) == parts[0] {
				t.place(b.below(name), f.typ, join(path, name), parts[1:], value)
				return
			}
			known = append(known, strings.ToUpper(f.key))
		}
		t.unknown(parts, known)
	case typ.Kind() == reflect.Slice && decimal.MatchString(parts[0]):
		b.list = true
		t.place(b.below(parts[0]), typ.Elem(), path+"["+parts[0]+"]", parts[1:], value)
	case typ.Kind() == reflect.Map:
		key := strings.Join(parts, "_")
		t.place(b.below(key), typ.Elem(), join(path, key), nil, value)
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

func (b *branch) below(name string) *branch {
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
	if entry == nil && node != nil {
		if whole, err := unfold(node); err == nil {
			node = whole
		} else {
			entry = &Entry{}
		}
	}
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
	if b.leaf != nil && b.branches == nil {
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
	if b.leaf != nil { // the whole, and parts of it
		if b.leaf.Kind == yaml.MappingNode && n.Kind == yaml.MappingNode {
			layUnder(n, b.leaf)
		} else {
			*t.report = append(*t.report, Entry{File: t.file, Line: b.at.Line, Column: b.at.Column,
				Path: t.here.path, Message: "one variable sets a whole, and another a part of it: write one of them"})
		}
	}
	if len(n.Content) > 0 {
		last := n.Content[len(n.Content)-1]
		n.Line, n.Column = last.Line, last.Column
	}
	return n
}

// layUnder gives a group what another one has beside it.
func layUnder(n, under *yaml.Node) {
	for i := 0; i+1 < len(under.Content); i += 2 {
		key, value := under.Content[i], under.Content[i+1]
		at := -1
		for j := 0; j+1 < len(n.Content); j += 2 {
			if n.Content[j].Value == key.Value {
				at = j + 1
			}
		}
		if at < 0 {
			n.Content = append(n.Content, key, value)
		} else if n.Content[at].Kind == yaml.MappingNode && value.Kind == yaml.MappingNode {
			layUnder(n.Content[at], value)
		}
	}
}
