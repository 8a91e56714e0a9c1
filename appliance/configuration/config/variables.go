package config

import (
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var variablesType = reflect.TypeFor[[]Variable]()

// asVariables makes a list of {name, value} of environment: in any of the forms that
// Compose has for one: a map, or a list of NAME=VALUE. Kubernetes' form, the list of
// {name, value}, is ours. A name without a value stays without one.
func asVariables(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: n.Line, Column: n.Column}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			out.Content = append(out.Content, variable(n.Content[i], n.Content[i+1]))
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind == yaml.ScalarNode && item.ShortTag() != "!!null" {
				item = assignment(item)
			}
			out.Content = append(out.Content, item)
		}
	default:
		return n
	}
	return out
}

// variable is one item of the list.
func variable(name, value *yaml.Node) *yaml.Node {
	key := func(text string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Line: name.Line, Column: name.Column}
	}
	item := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: name.Line, Column: name.Column}
	item.Content = append(item.Content, key("name"), name)
	if value != nil {
		item.Content = append(item.Content, key("value"), value)
	}
	return item
}

// assignment is the item for NAME=VALUE.
func assignment(n *yaml.Node) *yaml.Node {
	text := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: s, Line: n.Line, Column: n.Column}
	}
	name, value, ok := strings.Cut(n.Value, "=")
	if !ok {
		return variable(text(name), nil)
	}
	return variable(text(name), text(value))
}

// variables checks environment:. A name alone, which Compose takes from its shell, has
// no value here.
func (c *checker) variables(n *yaml.Node, path string, depth int) *value {
	n = asVariables(n)
	v := c.sequence(n, variablesType.Elem(), path, depth)
	for i, item := range v.items {
		text := item.get("value")
		if item.get("name") != nil && !item.removes && (text == nil || text.kind == unset) {
			v.items[i] = c.fail(n.Content[i], path+"["+strconv.Itoa(i)+"]",
				"a variable without a value: write one, as NAME=VALUE; there is no shell here to take it from")
		}
	}
	return v
}
