package config

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mergerForm is one merger of cloud-init, such as dict(recurse_list,no_replace).
var mergerForm = regexp.MustCompile(`^([a-z_]+)\(([a-z_, ]*)\)$`)

// options of cloud-init's mergers ("Merging user-data sections", cloud-init 25.1).
var mergerOptions = map[string][]string{
	"dict": {"replace", "no_replace", "recurse_dict", "recurse_array", "recurse_list", "allow_delete"},
	"list": {"append", "prepend", "replace", "no_replace", "recurse_dict"},
	"str":  {"replace"},
}

// parseMergeType reads how cloud-init is told to merge a document with the parts
// before it. The message says what of it cannot be done here. What cloud-init does
// without being told, dict(replace)+list()+str(), is our own way: groups are merged.
func parseMergeType(text string) (m merging, problem string) {
	chosen := map[string][]string{}
	for one := range strings.SplitSeq(text, "+") {
		one = strings.ReplaceAll(strings.ToLower(strings.TrimSpace(one)), "-", "_")
		if one == "" {
			continue
		}
		parts := mergerForm.FindStringSubmatch(one)
		if parts == nil || mergerOptions[parts[1]] == nil {
			return merging{}, "not a merge type of cloud-init: dict(…), list(…) and str(…) with + between them"
		}
		options := strings.FieldsFunc(parts[2], func(r rune) bool { return r == ',' || r == ' ' })
		for _, o := range options {
			if !slices.Contains(mergerOptions[parts[1]], o) {
				return merging{}, "this merge type cannot be done here: of " + parts[1] + "() there are " +
					strings.Join(mergerOptions[parts[1]], ", ") + ". Lists whose items have a name merge by it without any"
			}
		}
		chosen[parts[1]] = options
	}
	has := func(merger string, options ...string) bool {
		return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(chosen[merger], o) })
	}
	if len(chosen) == 0 || has("dict", "replace") { // which decides before all else
		return merging{}, ""
	}
	m = merging{first: true, drop: has("dict", "allow_delete"), lists: "first"}
	switch recursing := has("dict", "recurse_array", "recurse_list"); {
	case recursing && has("list", "append"):
		m.lists = "append"
	case recursing && has("list", "prepend"):
		m.lists = "prepend"
	case recursing && !has("list", "no_replace"):
		return merging{}, "this merge type cannot be done here: it puts lists on each other by the numbers of their items; " +
			"add list(append), list(prepend) or list(no_replace). Lists whose items have a name merge by it in any case"
	}
	return m, ""
}

// mergeType is how a layer wants to be merged with the parts before it.
type mergeType struct {
	merging
	own     bool // not as all layers are
	problem *Entry
}

// mergeType reads the key merge_how, or merge_type, of a cloud-config document, or
// else what its MIME header says.
func (c *checker) mergeType(root *yaml.Node, layer Layer) {
	text, entry := layer.MergeType, Entry{File: c.file}
	for _, name := range []string{"merge_type", "merge_how"} { // the latter counts where both are
		for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
			if node := root.Content[i+1]; root.Content[i].Value == name {
				text, entry = mergers(node), Entry{File: c.file, Line: node.Line, Column: node.Column, Path: name}
			}
		}
	}
	m, problem := parseMergeType(text)
	c.merge = mergeType{merging: m, own: m != merging{}}
	c.merge.keep = true
	if problem != "" && entry.Path == "" {
		problem = "Merge-Type: " + problem
	}
	if entry.Message = problem; problem != "" {
		c.merge.problem = &entry
	}
}

// mergers is the value of merge_how as one text: it may be a list of {name: dict,
// settings: [replace]}, or of [dict, replace].
func mergers(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return n.Value
	}
	var all []string
	for _, item := range n.Content {
		var one struct {
			Name     string
			Settings []string
		}
		var words []string
		switch {
		case item.Decode(&words) == nil && len(words) > 0:
			one.Name, one.Settings = words[0], words[1:]
		case item.Decode(&one) != nil:
			return "?"
		}
		all = append(all, one.Name+"("+strings.Join(one.Settings, ",")+")")
	}
	return strings.Join(all, "+")
}
