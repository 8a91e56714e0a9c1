package config

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Document is the configuration as one document, with every secret in it: it
// is for files that root alone may read. Parse gives the same configuration
// back.
func (c Config) Document() ([]byte, error) {
	return encode(writer{}.node(reflect.ValueOf(c), ""))
}

// Show is the configuration as a document for people: defaults included, each
// secret as <redacted>. With origins not nil, each value has a comment that
// names where it was written.
func (c Config) Show(origins Origins) ([]byte, error) {
	return encode(writer{redact: true, origins: origins}.node(reflect.ValueOf(c), ""))
}

func encode(ours *yaml.Node) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("redoubt"), ours}}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("cannot write the configuration: %w", err)
	}
	return b.Bytes(), nil
}

// writer turns values into YAML nodes.
type writer struct {
	redact  bool
	origins Origins
	hidden  map[*yaml.Node]string // gets what was redacted, if it is not nil
}

const redacted = "<redacted>"

func (w writer) node(v reflect.Value, path string) *yaml.Node {
	var n *yaml.Node
	switch {
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if v.IsNil() {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
		}
		return w.node(v.Elem(), path)
	case v.Type() == durationType:
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: time.Duration(v.Int()).String()}
	case v.Kind() == reflect.Struct:
		n = &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fieldsOf(v.Type()) {
			below := v.Field(f.index)
			omit := below.Kind() == reflect.Pointer || strings.Contains(v.Type().Field(f.index).Tag.Get("yaml"), ",omitempty")
			if Supported(join(path, f.key)) && !(omit && below.IsZero()) {
				n.Content = append(n.Content, text(f.key), w.node(below, join(path, f.key)))
			}
		}
		return n
	case v.Kind() == reflect.Map:
		n = &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			n.Content = append(n.Content, text(key.String()), w.node(v.MapIndex(key), join(path, key.String())))
		}
	case v.Kind() == reflect.Slice:
		n = &yaml.Node{Kind: yaml.SequenceNode}
		if !w.redact && v.Len() > 0 && hasName(v.Type().Elem()) {
			n.Content = withoutDefaults(v, path)
		}
		for i := range v.Len() {
			n.Content = append(n.Content, w.node(v.Index(i), path+"["+strconv.Itoa(i)+"]"))
		}
	case v.Kind() == reflect.String:
		n = w.text(v, path)
	default:
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
	}
	if len(n.Content) == 0 {
		if n.Kind != yaml.ScalarNode {
			n.Style = yaml.FlowStyle
		}
		if w.origins != nil {
			n.LineComment = "# " + w.origins.At(path).orDefault(w.origins, path)
		}
	}
	return n
}

// withoutDefaults are the items that take away what a list has by default and v has
// not: else it would be back when the document is read.
func withoutDefaults(v reflect.Value, path string) []*yaml.Node {
	usual := defaultValue().get(strings.Split(path, ".")...)
	if usual == nil {
		return nil
	}
	here := map[string]bool{}
	for i := range v.Len() {
		item := newGroup(Origin{})
		item.set("name", &value{scalar: v.Index(i).FieldByName("Name").String()})
		here[usual.nameOf(item)] = true
	}
	var gone []*yaml.Node
	for _, item := range usual.items {
		if name := usual.nameOf(item); !here[name] {
			gone = append(gone, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
				text("name"), text(name), text(remove), {Kind: yaml.ScalarNode, Value: "true"}}})
		}
	}
	return gone
}

// orDefault is the origin's text; a value in a group that was written, which
// was not written itself, has its default.
func (o Origin) orDefault(origins Origins, path string) string {
	if _, ok := origins[path]; ok {
		return o.String()
	}
	return Origin{}.String()
}

var (
	hidden = regexp.MustCompile(`^environment\[\d+\]\.value$|^registry\..*(?i:secret|passw|key|token|credential|connectionstring|endpoints.*headers|options|username|exec)`)
	login  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/]*@`)
)

func (w writer) text(v reflect.Value, path string) *yaml.Node {
	s := v.String()
	_, literal := Secret(s).literal()
	secret := v.Type() == secretType && literal
	if w.redact && s != "" && (secret || hidden.MatchString(path) || login.MatchString(s)) {
		n := &yaml.Node{Kind: yaml.ScalarNode, Value: redacted}
		if w.hidden != nil {
			w.hidden[n] = s
		}
		return n
	}
	return text(s)
}

// text is a string as a node, in quotes wherever YAML 1.1 or 1.2 would read
// the plain word as something else.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.Style == 0 && (retyped.MatchString(s) || plainTag(s) != "!!str") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func plainTag(s string) string {
	return (&yaml.Node{Kind: yaml.ScalarNode, Value: s}).ShortTag()
}
