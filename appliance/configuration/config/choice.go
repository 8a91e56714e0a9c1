package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// choicesOf are the words of each field of a struct that has a fixed set of them.
func choicesOf(t reflect.Type) map[string][]string {
	out := map[string][]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() != reflect.String {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		for _, option := range strings.Split(f.Tag.Get("jsonschema"), ",") {
			if word, ok := strings.CutPrefix(option, "enum="); ok {
				out[name] = append(out[name], word)
			}
		}
	}
	return out
}

// withWords is a group whose values of choices are read as words.
func withWords(n *yaml.Node, choices map[string][]string) *yaml.Node {
	if len(choices) == 0 {
		return n
	}
	group := *n
	group.Content = slices.Clone(n.Content)
	for i := 1; i < len(group.Content); i += 2 {
		group.Content[i] = chosen(group.Content[i], choices[group.Content[i-1].Value])
	}
	return &group
}

// chosen is the value of a field that has a fixed set of words, as the text that a person
// wrote: where only words may stand, 1.2 and off are words and need no quotes. false is
// the word of the set that YAML 1.1 takes for false: a program that reads off and writes
// it again writes false.
func chosen(n *yaml.Node, words []string) *yaml.Node {
	if words == nil || n.Kind != yaml.ScalarNode || n.Style != 0 || n.ShortTag() == "!!null" {
		return n
	}
	text := *n
	text.Tag, text.Style = "!!str", yaml.DoubleQuotedStyle
	for _, word := range words {
		if truths[word] == n.Value {
			text.Value = word
		}
	}
	return &text
}
