package render

import (
	"encoding/json"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

// Endpoint is what an item of notifications is reached with.
type Endpoint struct {
	URL, Secret, Authorization string
	CAs                        []byte // PEM; none: those of the system
}

// defaultSpool is how many bytes wait for an endpoint that says nothing else.
const defaultSpool = 64 << 20

// notifications is the file with the endpoints, if there are any: the registry reads it
// with registry.yml, which names it.
func notifications(cfg config.Config, facts Facts) ([]tree.File, error) {
	if len(cfg.Notifications) == 0 {
		return nil, nil
	}
	type endpoint struct {
		Name          string   `json:"name"`
		URL           string   `json:"url"`
		Format        string   `json:"format"`
		Secret        string   `json:"secret,omitempty"`
		Authorization string   `json:"authorization,omitempty"`
		Repositories  []string `json:"repositories,omitempty"`
		Actions       []string `json:"actions,omitempty"`
		CAs           string   `json:"cas,omitempty"`
		Spool         string   `json:"spool"`
		Limit         int64    `json:"limit"`
	}
	all := make([]endpoint, len(cfg.Notifications))
	for i, n := range cfg.Notifications {
		var to Endpoint
		if i < len(facts.Endpoints) {
			to = facts.Endpoints[i]
		}
		all[i] = endpoint{
			Name: n.Name, URL: to.URL, Format: "distribution", Secret: to.Secret, Authorization: to.Authorization,
			Repositories: n.Repositories, Actions: n.Actions, CAs: string(to.CAs),
			Spool: paths.NotificationSpools + "/" + n.Name, Limit: defaultSpool,
		}
		if n.Format != "" {
			all[i].Format = n.Format
		}
		if n.Spool != "" {
			all[i].Limit = config.Bytes(n.Spool)
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.Notifications, err)
	}
	return []tree.File{private(paths.Notifications, append(data, '\n'), tree.Reader{Unit: units.Registry, Verb: tree.Reload})}, nil
}
