package config

import (
	"strconv"
	"strings"
)

// Shadowed warns of each value of the layers below that one of the layers above
// replaces: otherwise an edit of the lower one would have no effect, and nothing would
// say why. above says of a layer's name where it belongs; a layer that is quiet may be
// replaced without a word.
func Shadowed(layers []Layer, above, quiet func(name string) bool) Report {
	var below []Layer
	for _, l := range layers {
		if !above(l.Name) {
			below = append(below, l)
		}
	}
	if len(below) == len(layers) {
		return nil
	}
	lower, all := written(below), written(layers)
	var report Report
	for path, v := range all {
		under, ok := lower[path]
		if key := path[strings.LastIndexByte(path, '.')+1:]; !ok && insteadOf[key] != "" {
			under, ok = lower[strings.TrimSuffix(path, key)+insteadOf[key]]
		}
		if !ok || !above(v.at.File) || under.at.Line == 0 || quiet(under.at.File) {
			continue
		}
		report = append(report, Entry{File: v.at.File, Line: v.at.Line, Column: v.at.Column, Path: v.at.Path, Warning: true,
			Message: "this is used, and not what " + under.at.String() + " says"})
	}
	return report.Sort()
}

// written are the values of merged layers that have none below them, by paths in which
// an item of a list has its name and not its number, which another layer can change.
func written(layers []Layer) map[string]*value {
	var ignored Report
	merged, _, _ := mergeAll(layers, &ignored)
	found := map[string]*value{}
	merged.leaves("", found)
	return found
}

func (v *value) leaves(path string, found map[string]*value) {
	if len(v.keys)+len(v.items) == 0 {
		found[path] = v
	}
	for _, key := range v.keys {
		v.fields[key].leaves(join(path, key), found)
	}
	for i, item := range v.items {
		name := strconv.Itoa(i)
		if v.named && v.nameOf(item) != "" {
			name = v.nameOf(item)
		}
		if !item.removes {
			item.leaves(path+"["+name+"]", found)
		}
		if name != strconv.Itoa(i) { // it is the same in both, but for its case
			delete(found, path+"["+name+"].name")
		}
	}
}
