package secrets

import (
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
)

// endpoints finds what the endpoints of notifications are reached with. What is kept
// elsewhere is held to the rules of what stands in the document.
func (r Resolver) endpoints(cfg config.Config, facts *render.Facts, errs *[]error) {
	for i, n := range cfg.Notifications {
		path := fmt.Sprintf("notifications[%d]", i)
		value := func(s config.Secret, key string, rule func(string) error) string {
			text, err := r.Value(s)
			if err == nil && s != "" {
				err = rule(text)
			}
			if err != nil {
				*errs = append(*errs, Problem{path + "." + key, err})
			}
			return text
		}
		facts.Endpoints = append(facts.Endpoints, render.Endpoint{
			URL:           value(n.URL, "url", config.EndpointProblem),
			Secret:        value(n.Secret, "secret", config.SigningProblem),
			Authorization: value(n.Authorization, "authorization", config.HeaderProblem),
			CAs:           r.cas(n.CABundle, path+".caBundle", errs),
		})
	}
}
