package appliance

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// take chooses what was found, or what of it can be used.
func (m *Machine) take(c choice, found userdata.Found) (choice, error) {
	cfg, origins, report := found.Parse()
	c.origins = origins
	var t target
	if report.Err() == nil {
		before, _, _ := config.Parse([]config.Layer{{Name: paths.LastGood, Data: c.lastGood}})
		var err error
		if t, err = m.build(cfg, found.Layers, c.lastGood != nil && sameSources(before, cfg)); err != nil {
			report = append(report, entries(err, origins)...).Excerpts(found.Layers)
			_, given := judge(found.Given(), m.resolver(), secrets.Kept{}, m.Now())
			if alone, ok := found.Alone(report, given); ok {
				return m.take(c, alone)
			}
		}
	}
	for _, w := range append(report.Warnings(), config.Shadowed(found.Layers, operators, ofImage)...) {
		fmt.Fprintln(m.Warnings, w)
	}
	if found.Overruled && addsNothing(found.Layers, c.lastGood) {
		c.problem = errors.New("the last good configuration serves, since the user-data cannot be used any more: correct it. " +
			"All that /etc/redoubt says is in force, and so is what was in the user-data")
		var err error
		c.target, err = m.rebuild(c.lastGood)
		return c, err
	}
	if report.Err() != nil {
		return m.instead(c, cfg, report)
	}
	c.target, c.asked = t, true
	return c, nil
}

// addsNothing tells whether the last good configuration already has all that the
// operator's layers say, and more. Then they are no way out of something, and to use
// them alone would take away what the user-data had set.
func addsNothing(layers []config.Layer, lastGood []byte) bool {
	document := func(layers ...config.Layer) string {
		cfg, _, report := config.Parse(layers)
		text, err := cfg.Document()
		if err != nil || report.Err() != nil {
			return ""
		}
		return string(text)
	}
	last := config.Layer{Name: paths.LastGood, Data: lastGood}
	before := document(last)
	above := []config.Layer{last}
	for _, l := range layers {
		if !strings.HasPrefix(l.Name, "/usr/") {
			above = append(above, l)
		}
	}
	return before != "" && document(above...) == before && document(layers...) != before
}

// sameSources says whether two configurations take the server's certificate from
// the same places.
func sameSources(a, b config.Config) bool {
	return a.TLS.Mode == b.TLS.Mode && a.TLS.Files == b.TLS.Files &&
		a.TLS.InternalCA.Certificate == b.TLS.InternalCA.Certificate && a.TLS.InternalCA.PrivateKey == b.TLS.InternalCA.PrivateKey
}
