package config

import (
	"maps"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Change is one value that two configurations do not share, as a person may read it: a
// secret is <redacted>. What is not there is empty.
type Change struct {
	Path   string `json:"path"` // such as auth.users[alice].passwordHash
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// leaf is one value of a configuration: as it is shown, and as it is.
type leaf struct{ shown, real string }

// Changes returns what c has otherwise than before, in the order of c's keys, and then
// what is gone.
func (c Config) Changes(before Config) []Change {
	old, oldPaths := before.leaves()
	now, paths := c.leaves()
	var out []Change
	for _, p := range paths {
		if was, ok := old[p]; !ok || was.real != now[p].real {
			out = append(out, Change{Path: p, Before: was.shown, After: now[p].shown})
		}
	}
	for _, p := range oldPaths {
		if _, ok := now[p]; !ok {
			out = append(out, Change{Path: p, Before: old[p].shown})
		}
	}
	return out
}

// leaves are the values of c by their paths, and these in the order of the keys.
func (c Config) leaves() (map[string]leaf, []string) {
	w := writer{redact: true, hidden: map[*yaml.Node]string{}}
	root := w.node(reflect.ValueOf(c), "")
	out := map[string]leaf{}
	var paths []string
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.MappingNode:
			for pair := range slices.Chunk(n.Content, 2) {
				walk(pair[1], join(path, pair[0].Value))
			}
		case yaml.SequenceNode:
			for i, item := range n.Content {
				walk(item, path+"["+itemName(item, i)+"]")
			}
		default:
			real, ok := w.hidden[n]
			if !ok {
				real = n.Value
			}
			if _, twice := out[path]; !twice {
				paths = append(paths, path)
			}
			out[path] = leaf{n.Value, real}
		}
	}
	walk(root, "")
	return out, paths
}

// itemName is what a person calls an item of a list: its name, or else its place.
func itemName(item *yaml.Node, i int) string {
	if item.Kind == yaml.MappingNode {
		for pair := range slices.Chunk(item.Content, 2) {
			if pair[0].Value == "name" && pair[1].Value != "" {
				return pair[1].Value
			}
		}
	}
	return strconv.Itoa(i)
}

// Secrets returns every value of c that Show redacts.
func (c Config) Secrets() []string {
	w := writer{redact: true, hidden: map[*yaml.Node]string{}}
	w.node(reflect.ValueOf(c), "")
	return slices.Collect(maps.Values(w.hidden))
}
