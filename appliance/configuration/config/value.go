package config

import (
	"maps"
	"slices"
	"strconv"
)

type kind int

const (
	scalar kind = iota
	group       // a YAML mapping
	list        // a YAML sequence
	unset       // null
	bad         // reported already; its value is not known
)

// value is a checked value with its origin.
type value struct {
	kind   kind
	at     Origin
	scalar any               // string, bool, int, float64 or time.Duration
	keys   []string          // of a group, in order
	fields map[string]*value // of a group
	items  []*value          // of a list

	named   bool     // a list whose items merge by their names
	folded  bool     // such a list in which the case of names is nothing
	alone   bool     // a list that takes nothing from the layers below
	removes bool     // an item that takes away the one of its name
	removed bool     // such an item that has found one
	near    []string // keys of a group that misspelt ones were probably meant for
}

func newGroup(at Origin) *value {
	return &value{kind: group, at: at, fields: map[string]*value{}}
}

func (v *value) set(key string, child *value) {
	if _, ok := v.fields[key]; !ok {
		v.keys = append(v.keys, key)
	}
	v.fields[key] = child
}

// copy is the same value, of which nothing is shared.
func (v *value) copy() *value {
	out := *v
	out.keys, out.fields, out.items = slices.Clone(v.keys), maps.Clone(v.fields), slices.Clone(v.items)
	for key, child := range out.fields {
		out.fields[key] = child.copy()
	}
	for i, item := range out.items {
		out.items[i] = item.copy()
	}
	return &out
}

// get is the value at a path of groups, or nil.
func (v *value) get(keys ...string) *value {
	for _, key := range keys {
		if v == nil || v.kind != group {
			return nil
		}
		v = v.fields[key]
	}
	return v
}

// merge lays over on base as RFC 7386 has it, and lists with names by name. A null
// takes away; with keep it stays, for a patch that is still to be laid on something
// else.
func merge(base, over *value, keep bool) *value {
	return merging{keep: keep}.lay(base, over)
}

// mergeLayer lays one layer on those below it. What registry: says stays a patch, for
// the document that is rendered.
func mergeLayer(base, over *value) *value {
	out := merge(base, over, false)
	if patch := over.get("registry"); patch != nil && patch.kind == group {
		out.set("registry", merge(base.get("registry"), patch, true))
	}
	return out
}

// valueOf is a document of maps as a value, for merge. What is no map is taken as it is.
func valueOf(document any) *value {
	m, ok := document.(map[string]any)
	switch {
	case document == nil:
		return &value{kind: unset}
	case !ok:
		return &value{scalar: document}
	}
	v := newGroup(Origin{})
	for _, key := range mapKeys(m) {
		v.set(key, valueOf(m[key]))
	}
	return v
}

// plain is the value as Go maps, lists and scalars. What is bad is left out.
func (v *value) plain() any {
	switch v.kind {
	case group:
		m := make(map[string]any, len(v.keys))
		for _, key := range v.keys {
			if v.fields[key].kind != bad {
				m[key] = v.fields[key].plain()
			}
		}
		return m
	case list:
		items := make([]any, 0, len(v.items))
		for _, item := range v.items {
			items = append(items, item.plain()) // nil for a bad one: indices stay
		}
		return items
	}
	return v.scalar
}

// walk calls f for v and for all below it, with their paths.
func (v *value) walk(path string, f func(path string, v *value)) {
	f(path, v)
	for _, key := range v.keys {
		v.fields[key].walk(join(path, key), f)
	}
	for i, item := range v.items {
		item.walk(path+"["+strconv.Itoa(i)+"]", f)
	}
}
