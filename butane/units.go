package butane

import (
	"bytes"
	"path"
	"slices"
	"strings"

	"io/fs"

	"github.com/coreos/ignition/v2/config/v3_6/types"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// Where Ignition puts units and presets.
const (
	unitDir    = "/etc/systemd/system"
	presetFile = "/etc/systemd/system-preset/20-ignition.preset"
)

// unitFiles returns the files that units, their drop-ins, masks and presets
// are, as Ignition writes them.
func unitFiles(s types.Systemd) []tree.File {
	var files []tree.File
	var presets []string
	for _, u := range s.Units {
		p := path.Join(unitDir, u.Name)
		if u.Contents != nil && *u.Contents != "" {
			files = append(files, tree.File{Path: p, Mode: 0o644, Data: []byte(*u.Contents)})
		}
		for _, d := range u.Dropins {
			if d.Contents != nil && *d.Contents != "" {
				files = append(files, tree.File{Path: path.Join(p+".d", d.Name), Mode: 0o644, Data: []byte(*d.Contents)})
			}
		}
		if masked(u) {
			files = append(files, tree.File{Path: p, Mode: 0o777 | fs.ModeSymlink, Data: []byte("/dev/null")})
		}
		if u.Enabled != nil && *u.Enabled {
			presets = append(presets, "enable "+presetName(u.Name))
		} else if u.Enabled != nil {
			presets = append(presets, "disable "+presetName(u.Name))
		}
	}
	if len(presets) > 0 {
		slices.SortFunc(presets, func(a, b string) int {
			_, a, _ = strings.Cut(a, " ")
			_, b, _ = strings.Cut(b, " ")
			return strings.Compare(a, b)
		})
		files = append(files, tree.File{Path: presetFile, Mode: 0o644, Data: []byte(strings.Join(presets, "\n") + "\n")})
	}
	return files
}

func masked(u types.Unit) bool { return u.Mask != nil && *u.Mask }

// presetName writes an instance as presets do: "a@.service b" (systemd.preset(5)).
func presetName(unit string) string {
	prefix, rest, ok := strings.Cut(unit, "@")
	instance, suffix := strings.TrimSuffix(rest, path.Ext(rest)), path.Ext(rest)
	if !ok || instance == "" {
		return unit
	}
	return prefix + "@" + suffix + " " + instance
}

// presetUnits lists the units that presets decide about.
func presetUnits(s types.Systemd, t tree.Tree) []string {
	var units, hidden []string
	for _, u := range s.Units {
		if u.Enabled != nil {
			units = append(units, u.Name)
		}
		if masked(u) {
			hidden = append(hidden, u.Name)
		}
	}
	for _, f := range t {
		dir := path.Dir(f.Path)
		if (dir == unitDir || dir == "/usr/lib/systemd/system") && f.Mode.IsRegular() && installed(f.Data) {
			units = append(units, path.Base(f.Path))
		}
	}
	slices.Sort(units)
	units = slices.Compact(units)
	return slices.DeleteFunc(units, func(u string) bool { return slices.Contains(hidden, u) })
}

func installed(unit []byte) bool {
	for line := range bytes.Lines(unit) {
		if string(bytes.TrimSpace(line)) == "[Install]" {
			return true
		}
	}
	return false
}
