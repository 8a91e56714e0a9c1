package userdata

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// mentions finds our key wherever it may stand, in flow style too.
var mentions = regexp.MustCompile(`redoubt["']?[ \t]*:`)

// passOver leaves out of a cloud's own document what does not speak of the registry.
// The user did not write it, so that no mistake in it may stop a machine.
func passOver(d Decoded) Decoded {
	ours := func(l config.Layer) bool { return mentions.Match(l.Data) }
	if slices.ContainsFunc(d.Layers, ours) {
		return d
	}
	problems := d.Report.Errors()
	for _, l := range d.Layers {
		_, _, report := config.Parse([]config.Layer{l})
		for _, e := range report.Errors() {
			if e.Line > 0 { // else it is only that our key is not there
				problems = append(problems, e)
			}
		}
	}
	out := Decoded{Expand: d.Expand}
	for _, e := range problems {
		e.Warning, e.Message = true, "passed over, since it does not speak of the registry: "+e.Message
		out.Report = append(out.Report, e)
	}
	return out
}

// switchedOff tells whether user-data turns the cloud's own document off, as
// "vendor_data: {enabled: false}" does (cloud-init's documentation: vendor-data). key is
// vendor_data or vendor_data2.
func switchedOff(key string, user []config.Layer) bool {
	off := false
	for _, l := range user {
		document := map[string]yaml.Node{}
		if !l.Cloud || yaml.Unmarshal(l.Data, &document) != nil {
			continue // what is wrong in it is said elsewhere
		}
		var vendor struct{ Enabled any }
		node, ok := document[key]
		if ok && node.Decode(&vendor) == nil && vendor.Enabled != nil {
			off = !slices.Contains([]string{"true", "1", "on", "yes"}, strings.ToLower(fmt.Sprint(vendor.Enabled)))
		}
	}
	return off
}
