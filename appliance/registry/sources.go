package registry

import (
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/oidc"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

// oidcOption is the option of our access controller with the issuers whose ID tokens log
// in. Distribution's own words have none for it.
const oidcOption = "oidc"

// takeSources reads who proves logins beside the table of users.
func (g *generation) takeSources(s *server, old *generation) error {
	if err := g.takeRobots(s); err != nil {
		return err
	}
	if err := g.takeDirectory(); err != nil {
		return err
	}
	return g.takeIssuers(old)
}

// takeIssuers reads whose ID tokens log in. What old knows of the issuers stays known: one
// may be down just now.
func (g *generation) takeIssuers(old *generation) error {
	given := g.config.Auth.Parameters()[oidcOption]
	if given == nil {
		return nil
	}
	var items []struct {
		Issuer, Audience, User string
		Match                  map[string]string
		Groups                 []string
		CABundle               string
	}
	data, err := yaml.Marshal(given)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &items)
	}
	if err != nil || len(items) == 0 {
		return errors.New("cannot use auth.oidc: it must be a list of issuers")
	}
	var trusts []oidc.Trust
	for _, i := range items {
		t := oidc.Trust{Issuer: i.Issuer, Audience: i.Audience, Match: i.Match, User: i.User, Groups: i.Groups}
		if i.CABundle != "" {
			t.CABundle = []byte(i.CABundle)
		}
		trusts = append(trusts, t)
	}
	var before *oidc.Source
	if old != nil {
		before = old.issuers
	}
	if g.issuers, err = oidc.New(trusts, before, time.Now); err != nil {
		return fmt.Errorf("cannot use auth.oidc: %w", err)
	}
	return nil
}

// sourcesDown is how many issuers and directories do not answer.
func (g *generation) sourcesDown() float64 {
	down := 0
	if g.issuers != nil {
		down += len(g.issuers.Down())
	}
	if g.directory != nil && g.directory.Down() != nil {
		down++
	}
	return float64(down)
}

// sources are who proves logins beside the table of users.
func (g *generation) sources() []users.Source {
	all := []users.Source{g.robots}
	if g.issuers != nil {
		all = append(all, g.issuers)
	}
	if g.directory != nil {
		all = append(all, g.directory)
	}
	return all
}
