package userdata

import (
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// join puts what was found in several places together, the lowest first.
func join(found ...Found) Found {
	var all Found
	for _, f := range found {
		all.Layers = append(all.Layers, f.Layers...)
		all.Report = append(all.Report, f.Report...)
		all.NoNews = all.NoNews || f.NoNews
	}
	return all
}

// overrule joins what was given from outside, lower, with what was set above it. When
// lower cannot be used whatever is set above it, and upper is complete by itself, upper
// alone counts: it is the way out of user-data that cannot be corrected.
func overrule(base, lower, upper Found) Found {
	all := join(base, lower, upper)
	if len(upper.Layers) == 0 {
		return all
	}
	_, _, report := all.Parse()
	_, _, below := join(base, lower).Parse()
	_, _, floor := base.Parse()
	fault := func(e config.Entry) bool { return slices.Contains(below, e) && !slices.Contains(floor, e) }
	if !slices.ContainsFunc(report.Errors(), fault) {
		return all // each may be right by itself, and they do not fit together
	}
	alone := join(base, upper)
	if _, _, own := alone.Parse(); own.Err() != nil {
		return all
	}
	alone.NoNews, alone.Overruled = all.NoNews, true
	for _, e := range report.Errors() {
		e.Warning = true
		alone.Report = append(alone.Report, e)
	}
	alone.Report = append(alone.Report, config.Entry{File: upper.Layers[0].Name, Warning: true,
		Message: "only this is used, and nothing of " + named(lower) + ", since that cannot be used: see the other warnings"})
	return alone
}

// named is what messages call the sources of f.
func named(f Found) string {
	for _, e := range f.Report.Errors() {
		return e.File
	}
	if n := len(f.Layers); n > 0 {
		return f.Layers[n-1].Name
	}
	return "user-data"
}
