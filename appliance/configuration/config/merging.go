package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// merging is a way to lay one value on another. The zero value is RFC 7386, with
// lists by name where their items have one.
type merging struct {
	keep  bool   // a null stays: the result is a patch
	first bool   // what is there already stays, but for groups
	drop  bool   // with first: a null takes away all the same
	lists string // what becomes of a list without names: "" replaces, first, append, prepend
}

// lay returns over on base, which may be nil. Neither is changed.
func (m merging) lay(base, over *value) *value {
	there := base != nil && base.kind != unset && base.kind != bad
	switch {
	case over.kind == list && over.named && !over.alone:
		return m.byName(base, over)
	case over.kind == list && there && base.kind == list:
		return m.list(base, over)
	case over.kind != group && m.first && there && over.kind != bad:
		return base
	case over.kind != group:
		return over
	}
	out := newGroup(over.at)
	if over.at.File == "" && base != nil {
		out.at = base.at
	}
	out.near = over.near
	if base != nil && base.kind == group {
		for _, key := range base.keys {
			out.set(key, base.fields[key])
		}
		out.near = slices.Concat(base.near, over.near)
	}
	for _, key := range over.keys {
		child := over.fields[key]
		switch {
		case child.kind == unset && m.first && !m.drop && out.fields[key] != nil:
		case child.kind == unset && !m.keep:
			out.unset(key)
		case child.kind == unset:
			out.set(key, child)
		default:
			out.set(key, m.lay(out.fields[key], child))
		}
	}
	return out
}

func (v *value) unset(key string) {
	delete(v.fields, key)
	v.keys = slices.DeleteFunc(v.keys, func(k string) bool { return k == key })
}

// list lays lists on each other that have no names.
func (m merging) list(base, over *value) *value {
	out := *over
	switch m.lists {
	case "first":
		return base
	case "append":
		out.items = slices.Concat(base.items, over.items)
	case "prepend":
		out.items = slices.Concat(over.items, base.items)
	}
	return &out
}

// byName lays a list on another one: an item on the one of its name, where that is
// there; the others follow at the end. An item that removes stays until sweep, since
// the defaults come last.
func (m merging) byName(base, over *value) *value {
	out := *over
	out.items = nil
	if base != nil && base.kind == list {
		out.items, out.alone = slices.Clone(base.items), base.alone
	}
	first, seen := map[string]int{}, map[string]bool{} // the first item of each name
	for i, item := range slices.Backward(out.items) {
		first[over.nameOf(item)] = i
	}
	for _, item := range over.items {
		name := over.nameOf(item)
		at, known := first[name]
		switch {
		case name == "" || !known || seen[name]: // the second of a name in one layer is a mistake, which is reported
			if !known {
				first[name] = len(out.items)
			}
			out.items = append(out.items, item)
		case item.removes:
			gone := *item
			gone.removed = !out.items[at].removes || out.items[at].removed
			out.items[at] = &gone
		case out.items[at].removes:
			out.items[at] = item
		default:
			out.items[at] = m.lay(without(out.items[at], item), item)
		}
		seen[name] = true
	}
	return &out
}

// nameOf is the name of an item as it is compared, or empty.
func (v *value) nameOf(item *value) string {
	text := ""
	if name := item.get("name"); name != nil {
		text, _ = name.scalar.(string)
	}
	if v.folded {
		return strings.ToLower(text)
	}
	return text
}

// insteadOf are keys of which exactly one is set: one that a higher layer sets takes
// the place of the other.
var insteadOf = map[string]string{"passwordHash": "password", "password": "passwordHash"}

// without is an item without the keys that another one replaces by others.
func without(item, over *value) *value {
	out := merge(nil, item, true) // a copy
	for _, key := range over.keys {
		if other, ok := insteadOf[key]; ok && over.fields[key].kind != unset && over.fields[other] == nil {
			out.unset(other)
		}
	}
	return out
}

// sweep takes out of the lists what removes, once all layers are merged, and warns
// of what has found nothing: a name is easily misspelt.
func (v *value) sweep(report *Report) {
	for _, key := range v.keys {
		v.fields[key].sweep(report)
	}
	if v.kind != list || !slices.ContainsFunc(v.items, func(item *value) bool { return item.removes }) {
		return
	}
	var stay []*value
	for _, item := range v.items {
		switch {
		case !item.removes:
			stay = append(stay, item)
		case !item.removed:
			*report = append(*report, Entry{File: item.at.File, Line: item.at.Line, Column: item.at.Column, Path: item.at.Path,
				Message: "nothing of this name is there to be removed", Warning: true})
		}
	}
	v.items = stay
}

// hasName says whether the items of a list merge by name: those of ours that have
// one. Lists in distribution's own words are replaced.
func hasName(elem reflect.Type) bool {
	return elem.Kind() == reflect.Struct && elem.PkgPath() == reflect.TypeFor[Config]().PkgPath() &&
		slices.ContainsFunc(fieldsOf(elem), func(f field) bool { return f.key == "name" })
}

const remove = "remove"

// item checks an item of a list with names: as its type, or a name with remove: true.
func (c *checker) item(n *yaml.Node, elem reflect.Type, path string, depth int) *value {
	at := -1
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == remove {
			at = i
		}
	}
	if at < 0 {
		return c.check(n, elem, path, depth)
	}
	key, flag := n.Content[at], n.Content[at+1]
	rest := *n
	rest.Content = slices.Concat(n.Content[:at], n.Content[at+2:])
	item := c.check(&rest, elem, path, depth)
	if flag.Kind != yaml.ScalarNode || flag.ShortTag() != "!!bool" || !strings.EqualFold(flag.Value, "true") {
		return c.fail(flag, join(path, remove), "must be true: leave remove out where the item stays")
	}
	if item.kind == group && (item.get("name") == nil || len(item.keys) > 1) {
		return c.fail(key, join(path, remove), "removes the item of a lower layer that has this name: only name may stand beside it")
	}
	item.removes = item.kind == group
	return item
}
