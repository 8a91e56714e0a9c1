package appliance

import (
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

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
