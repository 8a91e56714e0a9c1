package foreign

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// section is a group of the document, with its keys in order.
type section struct {
	keys   []string
	values map[string]any
}

func newSection() *section { return &section{values: map[string]any{}} }

func (s *section) set(value any, keys ...string) {
	if len(keys) > 1 {
		below, ok := s.values[keys[0]].(*section)
		if !ok {
			below = newSection()
			s.set(below, keys[0])
		}
		below.set(value, keys[1:]...)
		return
	}
	if _, ok := s.values[keys[0]]; !ok {
		s.keys = append(s.keys, keys[0])
	}
	s.values[keys[0]] = value
}

func (s *section) get(keys ...string) any {
	v := s.values[keys[0]]
	if below, ok := v.(*section); ok && len(keys) > 1 {
		return below.get(keys[1:]...)
	}
	if len(keys) > 1 {
		return nil
	}
	return v
}

// block is text of several lines, quoted is text that looks like something else.
type (
	block  string
	quoted string
)

func list(texts []string) []any {
	var out []any
	for _, s := range texts {
		out = append(out, s)
	}
	return out
}

// pairsOf is a group of keys and values in turn.
func pairsOf(pairs ...string) *section {
	s := newSection()
	for i := 0; i+1 < len(pairs); i += 2 {
		s.set(pairs[i+1], pairs[i])
	}
	return s
}

// ordered is a value as sections, sorted by key.
func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		s := newSection()
		for _, key := range slices.Sorted(maps.Keys(v)) {
			s.set(ordered(v[key]), key)
		}
		return s
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = ordered(v[i])
		}
		return out
	}
	return v
}

// order is that of the keys of a document.
var order = []string{"hostname", "aliases", "listen", "tls", "auth", "storage", "cache", "health", "log", "metrics", "registry"}

// node is a value as YAML.
func node(v any) *yaml.Node {
	n := &yaml.Node{}
	switch v := v.(type) {
	case *section:
		n.Kind = yaml.MappingNode
		for _, key := range v.keys {
			name := node(key)
			n.Content = append(n.Content, name, node(v.values[key]))
		}
		if len(n.Content) == 0 {
			n.Style = yaml.FlowStyle
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, item := range v {
			n.Content = append(n.Content, node(item))
		}
	case block:
		n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", string(v), yaml.LiteralStyle
	case quoted:
		n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", string(v), yaml.DoubleQuotedStyle
	case string:
		n.SetString(v)
		if n.Style == 0 && (!plainWord.MatchString(v) || otherwise.MatchString(v)) {
			n.Style = yaml.DoubleQuotedStyle
		}
	default:
		if err := n.Encode(v); err != nil {
			n.SetString(fmt.Sprint(v))
		}
	}
	return n
}

// plainWord is text that every version of YAML reads as text.
var plainWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$|^[0-9]+(ms|s|m|h)$|^[0-9]+(\.[0-9]+){3}$`)

// otherwise are words that some version of YAML reads as a truth value or nothing.
var otherwise = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)

// droppable are the parts that a registry can do without: what validation refuses there
// becomes a note.
var droppable = regexp.MustCompile(`^(registry|log|listen|metrics|cache|health|aliases|tls)(\.|\[|$)`)

// document writes the document and judges it. What it cannot hold is dropped, with the
// reason that validation gives.
func (d *draft) document() (Result, error) {
	ours := newSection()
	for _, key := range order {
		if v := d.out.values[key]; v != nil {
			ours.set(v, key)
		}
	}
	root := node(ours)
	for range 20 {
		data, err := encode(root, d.notes)
		if err != nil {
			return Result{}, err
		}
		_, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: data}})
		if !d.drop(root, data, report) {
			notes, missing := d.lacks()
			return Result{Document: data, Notes: notes, Report: append(told(report), missing...)}, nil
		}
	}
	return Result{}, fmt.Errorf("cannot write a document that is valid")
}

// lacks are the notes, and the errors for what is missing where that is one.
func (d *draft) lacks() (notes []Note, missing config.Report) {
	for _, n := range d.notes {
		if n.Missing && !d.incomplete {
			missing = append(missing, config.Entry{File: path.Base(n.Source), Message: strings.TrimPrefix(n.Text, notCarried)})
		} else {
			notes = append(notes, n)
		}
	}
	if missing != nil {
		missing = append(missing, config.Entry{Message: "or add --incomplete, and do without what is missing"})
	}
	return notes, missing
}

// told is a report for a person who has not seen the document, with a note for each login
// that is missing.
func told(report config.Report) config.Report {
	var out config.Report
	for _, e := range report {
		if e.Warning && e.Path == "auth.users" && strings.HasPrefix(e.Message, "no users") {
			continue // a note says it, and why
		}
		e = config.Entry{Path: e.Path, Message: e.Message, Warning: e.Warning}
		if e.Path == "hostname" && strings.HasPrefix(e.Message, "required") {
			e.Message = "no FILE says how clients call the machine: add --hostname NAME"
		}
		out = append(out, e)
	}
	return out
}

// drop takes what validation refuses out of the document, and tells whether there was
// something.
func (d *draft) drop(root *yaml.Node, data []byte, report config.Report) bool {
	dropped := false
	for _, e := range report.Errors() {
		if !droppable.MatchString(e.Path) {
			continue
		}
		keys := keysAt(root, data, e)
		if strings.HasPrefix(e.Path, "tls.files") || e.Path == "tls.mode" {
			keys = []string{"tls"}
		}
		if len(keys) == 0 || !strings.HasPrefix(e.Path, keys[0]) || !cut(root, keys) {
			continue
		}
		dropped = true
		name, section := e.Path, keys[0] // as validation shows it: a key may be a secret
		if below, ok := strings.CutPrefix(name, "registry."); ok {
			name, section = below, sectionOf(below)
		}
		d.left(section, name, e.Message)
	}
	return dropped
}

// keysAt finds the keys that lead to the place of an entry in the written document.
func keysAt(root *yaml.Node, data []byte, e config.Entry) []string {
	var written yaml.Node
	if yaml.Unmarshal(data, &written) != nil || len(written.Content) == 0 {
		return nil
	}
	ours := written.Content[0].Content[1]
	var best []string
	var walk func(n *yaml.Node, keys []string)
	walk = func(n *yaml.Node, keys []string) {
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			below := append(slices.Clone(keys), key.Value)
			if key.Line < e.Line || key.Line == e.Line && key.Column <= e.Column {
				best = below
				walk(value, below)
			}
		}
	}
	walk(ours, nil)
	return best
}

// cut removes the value at keys, and the groups that it leaves empty.
func cut(n *yaml.Node, keys []string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != keys[0] {
			continue
		}
		if len(keys) > 1 && !cut(n.Content[i+1], keys[1:]) {
			return false
		}
		if len(keys) == 1 || len(n.Content[i+1].Content) == 0 {
			n.Content = slices.Delete(n.Content, i, i+2)
		}
		return true
	}
	return false
}

// encode writes the document, with each note above the key that it belongs to, or at the
// end where that is not there.
func encode(ours *yaml.Node, notes []Note) ([]byte, error) {
	comments := map[string][]string{}
	for _, n := range notes {
		comments[n.Section] = append(comments[n.Section], "# "+n.String())
	}
	for i := 0; i+1 < len(ours.Content); i += 2 {
		key := ours.Content[i]
		key.HeadComment = strings.Join(comments[key.Value], "\n")
		delete(comments, key.Value)
	}
	root := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{node("redoubt"), ours}}
	var b bytes.Buffer
	b.WriteString("#cloud-config\n")
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("cannot write the document: %w", err)
	}
	for _, key := range append(slices.Clone(order), slices.Sorted(maps.Keys(comments))...) {
		for _, line := range comments[key] {
			b.WriteString("  " + line + "\n")
		}
		delete(comments, key)
	}
	return b.Bytes(), nil
}
