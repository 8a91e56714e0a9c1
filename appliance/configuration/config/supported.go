package config

import (
	"reflect"
	"regexp"
	"strings"
)

// later are the keys whose work is not built yet. They are checked like all
// others, and refused unless they have their default.
var later = regexp.MustCompile(`^(mirrors)(\.|$)`)

// Supported says whether this version does something with a key, given as its path
// such as mirrors[].name.
func Supported(path string) bool {
	return !later.MatchString(strings.ReplaceAll(path, "[]", "[0]"))
}

// unsupported refuses what a later version does, at its line.
func unsupported(base, merged *value, report *Report) {
	known, wrong := map[string]any{}, map[string]bool{}
	for _, e := range *report {
		wrong[e.Path] = !e.Warning
	}
	base.walk("", func(path string, v *value) { known[path] = v.plain() })
	merged.walk("", func(path string, v *value) {
		switch {
		case v.kind == bad || v.kind == unset || wrong[v.at.Path] && v.kind == scalar:
		case v.kind == group || !later.MatchString(path):
		case v.kind == list && len(v.items) == 0:
		case inList.MatchString(path):
		case !reflect.DeepEqual(v.plain(), known[path]):
			*report = append(*report, Entry{File: v.at.File, Line: v.at.Line, Column: v.at.Column,
				Path: v.at.Path, Message: "not supported yet"})
		}
	})
}

// What is below a refused list is refused with it.
var inList = regexp.MustCompile(`\[\d+\]`)
