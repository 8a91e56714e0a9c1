package config

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds how deep values may nest; the schema itself needs 7.
const maxDepth = 24

// checker compares the nodes of one layer with Go types and collects all that
// does not fit.
type checker struct {
	file   string
	report *Report
	merge  mergeType // of the layer
}

func (c *checker) fail(n *yaml.Node, path, format string, args ...any) *value {
	*c.report = append(*c.report, Entry{
		File: c.file, Line: n.Line, Column: n.Column, Path: path, Message: fmt.Sprintf(format, args...)})
	return &value{kind: bad, at: c.at(n)}
}

func (c *checker) at(n *yaml.Node) Origin {
	return Origin{File: c.file, Line: n.Line, Column: n.Column}
}

// check turns a node into a value of type t.
func (c *checker) check(n *yaml.Node, t reflect.Type, path string, depth int) *value {
	v := c.typed(n, t, path, depth)
	v.at.Path = path
	return v
}

func (c *checker) typed(n *yaml.Node, t reflect.Type, path string, depth int) *value {
	t = checkedAs(t, path)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n = typeGroup(n, t)
	switch {
	case depth > maxDepth:
		return c.fail(n, path, "nested too deep")
	case n.Style&yaml.TaggedStyle != 0:
		return c.fail(n, path, "tags (!name) are not read: leave it out")
	case n.Kind == yaml.ScalarNode && n.Style == 0 && n.ShortTag() == "!!null":
		return &value{kind: unset, at: c.at(n)}
	}
	switch {
	case t == durationType:
		return c.duration(n, path)
	case t == variablesType:
		return c.variables(n, path, depth)
	case t.Kind() == reflect.Struct:
		return c.structure(n, t, path, depth)
	case t.Kind() == reflect.Map:
		return c.mapping(n, t.Elem(), path, depth)
	case t.Kind() == reflect.Slice:
		return c.sequence(n, t.Elem(), path, depth)
	case t.Kind() == reflect.Interface:
		return c.anything(n, path, depth)
	case n.Kind != yaml.ScalarNode:
		return c.fail(n, path, "must be %s, not a list and not a group", wanted(t))
	}
	switch t.Kind() {
	case reflect.Int:
		return c.integer(n, path)
	case reflect.Bool:
		return c.boolean(n, path)
	}
	v := c.text(n, path)
	if list := words(t, path); list != nil && v.kind == scalar {
		at := slices.IndexFunc(list, func(word string) bool { return strings.EqualFold(word, v.scalar.(string)) })
		if at < 0 {
			return c.fail(n, path, "must be one of %s", strings.Join(list, " | "))
		}
		v.scalar = list[at]
	}
	return v
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	}
	return "text"
}

func (c *checker) structure(n *yaml.Node, t reflect.Type, path string, depth int) *value {
	if n.Kind != yaml.MappingNode {
		return c.fail(n, path, "must be a group of keys (key: value)")
	}
	fields := map[string]reflect.Type{}
	for _, f := range fieldsOf(t) {
		fields[f.key] = f.typ
	}
	return c.keys(withWords(n, choicesOf(t)), path, fields, nil, depth)
}

// mapping is a group in which every key may stand.
func (c *checker) mapping(n *yaml.Node, elem reflect.Type, path string, depth int) *value {
	if n.Kind != yaml.MappingNode {
		return c.fail(n, path, "must be a group of keys (key: value)")
	}
	return c.keys(n, path, nil, elem, depth)
}

// keys checks the keys of a mapping, and each value against its type: that of fields,
// or other for all that fields do not name. Without other an unknown key is a mistake.
func (c *checker) keys(n *yaml.Node, path string, fields map[string]reflect.Type, other reflect.Type, depth int) *value {
	out := newGroup(c.at(n))
	lines := map[string]int{}
	known := mapKeys(fields)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, child := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 {
			c.fail(key, path, "a key must be plain text")
			continue
		}
		name := key.Value
		below := join(path, name)
		if stock, ok := inOverlay(below); ok {
			if aliases[stock] != "" {
				name = aliases[stock]
				below = join(path, name)
			}
			if message, skip := stockKey(stock, child); skip || message != "" {
				if !skip {
					out.set(name, c.fail(key, below, "%s", message))
				}
				continue
			}
		}
		typ, ok := fields[name]
		if !ok {
			typ = other
			below = join(path, c.named(n, key, child, known))
		}
		if line, ok := lines[name]; ok {
			c.fail(key, below, "duplicate key, first written on line %d", line)
			continue
		}
		lines[name] = key.Line
		stock := ""
		if typ == nil && !strings.HasPrefix(path, "registry") && !strings.HasPrefix(path, "environment") {
			stock = stockName(join(path, key.Value))
		}
		if word := nearest(key.Value, known); word != "" && typ == nil {
			out.near = append(out.near, word)
		}
		switch {
		case typ != nil:
			out.set(name, c.check(child, typ, below, depth+1))
		case stock != "":
			c.fail(key, join(path, key.Value), "%s", stock)
		case strings.HasSuffix(below, unnamed):
			c.fail(key, path, hiddenKey)
		default:
			c.fail(key, below, "unknown key%s", suggest(key.Value, known))
		}
	}
	return out
}

// named is an unknown key of n as messages may show it.
func (c *checker) named(n, key, value *yaml.Node, known []string) string {
	if alone(n, value) {
		return unnamed
	}
	return shown(key.Value, known)
}

func (c *checker) sequence(n *yaml.Node, elem reflect.Type, path string, depth int) *value {
	if n.Kind != yaml.SequenceNode {
		return c.fail(n, path, "must be a list (- item)%s", example(elem))
	}
	out := &value{kind: list, at: c.at(n), alone: len(n.Content) == 0, named: hasName(elem), folded: elem == reflect.TypeFor[Header]()}
	for i, child := range n.Content {
		below := path + "[" + strconv.Itoa(i) + "]"
		var item *value
		if out.named {
			item = c.item(child, elem, below, depth+1)
		} else {
			item = c.check(child, elem, below, depth+1)
		}
		if item.kind == unset {
			item = c.fail(child, below, "an empty item")
		}
		out.items = append(out.items, item)
	}
	return out
}

// anything takes what distribution leaves untyped.
func (c *checker) anything(n *yaml.Node, path string, depth int) *value {
	switch n.Kind {
	case yaml.MappingNode:
		return c.mapping(n, reflect.TypeFor[any](), path, depth)
	case yaml.SequenceNode:
		return c.sequence(n, reflect.TypeFor[any](), path, depth)
	}
	switch tag := n.ShortTag(); {
	case tag == "!!str" && n.Style == 0 && truths[strings.ToLower(n.Value)] != "" && lenient(path):
		return c.boolean(n, path)
	case tag == "!!int":
		return c.integer(n, path)
	case tag == "!!bool":
		return c.boolean(n, path)
	case tag == "!!float":
		number, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			return c.fail(n, path, "must be a plain decimal number, or text in quotes")
		}
		return &value{at: c.at(n), scalar: number}
	}
	return c.text(n, path)
}

var decimal = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)

func (c *checker) integer(n *yaml.Node, path string) *value {
	switch {
	case decimal.MatchString(n.Value) && n.Style != 0 && lenient(path):
	case n.ShortTag() == "!!str" && n.Style != 0 && decimal.MatchString(n.Value):
		return c.fail(n, path, "must be a whole number: take the quotes away")
	case !decimal.MatchString(n.Value):
		return c.fail(n, path, "must be a whole number in plain decimal digits")
	}
	number, err := strconv.ParseInt(n.Value, 10, 32)
	if err != nil {
		return c.fail(n, path, "number out of range")
	}
	return &value{at: c.at(n), scalar: int(number)}
}

func (c *checker) boolean(n *yaml.Node, path string) *value {
	truth := strings.ToLower(n.Value)
	if lenient(path) && n.Kind == yaml.ScalarNode {
		truth = cmp.Or(truths[truth], truth)
	} else if n.ShortTag() != "!!bool" {
		truth = ""
	}
	if truth != "true" && truth != "false" {
		return c.fail(n, path, "must be true or false")
	}
	return &value{at: c.at(n), scalar: truth == "true"}
}

func (c *checker) duration(n *yaml.Node, path string) *value {
	if n.Kind != yaml.ScalarNode {
		return c.fail(n, path, "must be a duration, such as 90s, 10m or 24h")
	}
	if _, err := strconv.ParseFloat(n.Value, 64); err == nil && lenient(path) {
		return c.fail(n, path, "a duration needs a unit, such as 90s, 10m or 500ms: the stock registry takes a bare number for nanoseconds")
	} else if err == nil {
		return c.fail(n, path, "a duration needs a unit, such as 90s, 10m or 24h")
	}
	d, err := parseDuration(n.Value)
	if err != nil {
		return c.fail(n, path, "must be a duration of d, h, m, s or ms, such as 7d, 24h, 10m or 90s")
	}
	if d < 0 {
		return c.fail(n, path, "a duration must not be negative")
	}
	return &value{at: c.at(n), scalar: d}
}

// inDays matches a duration in days, for which Go has no unit.
var inDays = regexp.MustCompile(`^([0-9]{1,5})d$`)

func parseDuration(text string) (time.Duration, error) {
	if found := inDays.FindStringSubmatch(text); found != nil {
		n, err := strconv.Atoi(found[1])
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

// retyped are the plain words that YAML 1.1, which cloud-init reads, takes for
// something else than text: truth values and numbers to the base of 60.
var retyped = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$|^[-+]?0[0-9_]*$|^=$`)

func (c *checker) text(n *yaml.Node, path string) *value {
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	if plain && !lenient(path) && (n.ShortTag() != "!!str" || retyped.MatchString(n.Value)) {
		return c.fail(n, path, "must be text: YAML reads this as something else, so put it in quotes")
	}
	for _, r := range n.Value {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return c.fail(n, path, "must not hold control characters")
		}
	}
	return &value{at: c.at(n), scalar: n.Value}
}
