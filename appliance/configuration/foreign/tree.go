package foreign

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// plain makes the keys of all groups text.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, below := range v {
			v[key] = plain(below)
		}
		return v
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, below := range v {
			out[fmt.Sprint(key)] = plain(below)
		}
		return out
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
		return v
	}
	return v
}

// at is the value at a path of groups, or nil.
func at(doc any, keys ...string) any {
	for _, key := range keys {
		m, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = m[key]
	}
	return doc
}

// text is the value at a path as text, or empty for a group, a list or nothing.
func text(doc any, keys ...string) string {
	switch v := at(doc, keys...).(type) {
	case nil, map[string]any, []any:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// texts is a list of texts, or the one text that stands in its place.
func texts(v any) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, item := range v {
			if s := text(item); s != "" {
				out = append(out, s)
			}
		}
		return out
	case nil, map[string]any:
		return nil
	}
	return []string{text(v)}
}

// truth reads a truth value of YAML 1.1; ok is false for anything else.
func truth(v any) (value, ok bool) {
	switch strings.ToLower(text(v)) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

// mergeMaps lays over on base; groups are merged.
func mergeMaps(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for key, v := range over {
		below, ok := v.(map[string]any)
		have, both := out[key].(map[string]any)
		if ok && both {
			out[key] = mergeMaps(have, below)
		} else {
			out[key] = v
		}
	}
	return out
}

// take removes a value from the stock registry's settings and returns it.
func (d *draft) take(keys ...string) any {
	v := at(d.stock, keys...)
	remove(d.stock, keys)
	return v
}

func remove(m map[string]any, keys []string) {
	if len(keys) == 1 {
		delete(m, keys[0])
		return
	}
	below, ok := m[keys[0]].(map[string]any)
	if !ok {
		return
	}
	remove(below, keys[1:])
	if len(below) == 0 {
		delete(m, keys[0])
	}
}

// put sets a value in the stock registry's settings, and makes groups on the way.
func put(m map[string]any, value any, keys ...string) {
	for _, key := range keys[:len(keys)-1] {
		below, ok := m[key].(map[string]any)
		if !ok {
			below = map[string]any{}
			m[key] = below
		}
		m = below
	}
	m[keys[len(keys)-1]] = value
}

// variables lays REGISTRY_* on the settings as the stock registry does: a whole first,
// then its parts.
func (d *draft) variables() {
	slices.SortStableFunc(d.env, func(a, b assignment) int {
		return cmp.Compare(strings.Count(a.name, "_"), strings.Count(b.name, "_"))
	})
	for _, v := range d.env {
		rest, ok := strings.CutPrefix(v.name, "REGISTRY_")
		if !ok {
			continue
		}
		d.source = v.source
		keys := stockPath(rest)
		var value any
		if yaml.Unmarshal([]byte(v.value), &value) != nil || secretKey[keys[len(keys)-1]] {
			value = v.value
		}
		value = plain(value)
		if driver, ok := value.(string); ok && len(keys) == 1 && (keys[0] == "storage" || keys[0] == "auth") {
			value = map[string]any{driver: map[string]any{}}
		}
		if group, ok := value.(map[string]any); ok {
			if have, ok := at(d.stock, keys...).(map[string]any); ok {
				value = mergeMaps(have, group)
			}
		}
		put(d.stock, value, keys...)
	}
	d.listItems(d.stock)
}

// secretKey are settings whose text must not be read as a number.
var secretKey = map[string]bool{"accesskey": true, "secretkey": true, "password": true, "secret": true}

// stockPath is where a variable leads; the names of headers and fields keep their case.
func stockPath(name string) []string {
	for _, prefix := range [][]string{{"http", "headers"}, {"log", "fields"}} {
		if rest, ok := strings.CutPrefix(name, strings.ToUpper(strings.Join(prefix, "_"))+"_"); ok {
			return append(slices.Clone(prefix), rest)
		}
	}
	return strings.Split(strings.ToLower(name), "_")
}

// listItems makes lists of groups whose keys are 0, 1, 2 …
func (d *draft) listItems(m map[string]any) {
	for key, v := range m {
		below, ok := v.(map[string]any)
		if !ok {
			continue
		}
		d.listItems(below)
		items := make([]any, 0, len(below))
		for i := range len(below) {
			if item, ok := below[strconv.Itoa(i)]; ok {
				items = append(items, item)
			}
		}
		if len(items) > 0 && len(items) == len(below) {
			m[key] = items
		}
	}
}
