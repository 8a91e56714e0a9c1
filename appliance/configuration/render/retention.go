package render

import (
	"encoding/json"

	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/retention"
)

// Retention are the rules of what stays.
func Retention(cfg config.Config) retention.Rules {
	out := retention.Rules{Enforce: cfg.Retention.Enforce}
	for _, r := range cfg.Retention.Rules {
		out.Rules = append(out.Rules, retention.Rule(r))
	}
	for _, r := range cfg.Immutable {
		out.Immutable = append(out.Immutable, immutable.Rule(r))
	}
	return out
}

// stays is the file with the rules of what stays, if there are any. It is read at each use.
func stays(cfg config.Config) []tree.File {
	rules := Retention(cfg)
	if len(rules.Rules)+len(rules.Immutable) == 0 {
		return nil
	}
	data, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		panic(err) // text and numbers alone
	}
	return []tree.File{private(paths.Retention, append(data, '\n'))}
}
