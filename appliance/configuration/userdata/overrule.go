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

// parts are what was found in one place after the other.
type parts struct{ base, lower, upper Found }

// overrule joins what was given from outside, lower, with what was set above it. When
// lower cannot be used whatever is set above it, and upper is complete by itself, upper
// alone counts: it is the way out of user-data that cannot be corrected.
func overrule(base, lower, upper Found) Found {
	all := join(base, lower, upper)
	if len(upper.Layers) == 0 {
		return all
	}
	all.parts = &parts{base, lower, upper}
	_, _, report := all.Parse()
	_, _, given := all.Given().Parse()
	_, _, floor := base.Parse()
	own := slices.DeleteFunc(given, func(e config.Entry) bool { return slices.Contains(floor, e) })
	if alone, ok := all.Alone(report, own); ok {
		return alone
	}
	return all
}

// Given is what was found without what the operator set on the machine.
func (f Found) Given() Found {
	if f.parts == nil {
		return Found{}
	}
	return join(f.parts.base, f.parts.lower)
}

// Alone is what the operator set on the machine, when that is complete by itself and a
// mistake in report, which is that of all that was found, is one of what was given: it
// is in given too. Otherwise each may be right by itself, and they do not fit together.
func (f Found) Alone(report, given config.Report) (Found, bool) {
	fault := func(e config.Entry) bool { return slices.Contains(given, e) }
	if f.parts == nil || !slices.ContainsFunc(report.Errors(), fault) {
		return f, false
	}
	alone := join(f.parts.base, f.parts.upper)
	if _, _, own := alone.Parse(); own.Err() != nil {
		return f, false
	}
	alone.NoNews, alone.Overruled = f.NoNews, true
	for _, e := range report.Errors() {
		e.Warning = true
		alone.Report = append(alone.Report, e)
	}
	alone.Report = append(alone.Report, config.Entry{File: f.parts.upper.Layers[0].Name, Warning: true,
		Message: "only this is used, and nothing of " + named(f.parts.lower) + ", since that cannot be used: see the other warnings"})
	return alone, true
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
