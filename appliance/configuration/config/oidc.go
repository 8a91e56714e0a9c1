package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/claims"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
)

// oidcUser is the user whose password an ID token is.
const oidcUser = "oidc"

// everybody are issuers that give a token to whoever in the world asks.
var everybody = []string{"https://token.actions.githubusercontent.com", "https://gitlab.com", "https://accounts.google.com", "https://agent.buildkite.com", "https://app.terraform.io"}

func (o OIDC) validate(s, users spot, a Auth) {
	for i, t := range o.Trust {
		at := s.at("trust").item(i)
		t.validate(at)
		a.validateNamesOf(t, at)
	}
	if len(o.Trust) == 0 {
		return
	}
	for i, u := range a.Users {
		if u.Name == oidcUser {
			users.item(i).at("name").fail("must not be oidc where auth.oidc.trust is set: an ID token is the password of that user")
		}
	}
}

func (t Trust) validate(s spot) {
	validateIssuer(t.Issuer, s.at("issuer"))
	if t.Audience == "" {
		s.at("audience").fail("required: what the tokens are made for, such as this registry's name")
	}
	if len(t.Match) == 0 {
		s.at("match").fail("required: claims and patterns, such as {repository: \"example/*\"}; without one every token of the issuer would log in")
	}
	closed := false
	for claim, text := range t.Match {
		at := s.at("match").at(claim)
		if claim == "" || strings.ContainsAny(claim, "{}") {
			s.at("match").fail("a claim needs a name without braces")
		}
		if _, err := claims.ParsePattern(text); err != nil {
			at.fail("%s", err)
		}
		closed = closed || !strings.HasPrefix(text, "*")
	}
	for _, issuer := range everybody {
		if t.Issuer == issuer && !closed && len(t.Match) > 0 && !s.at("match").partly() {
			s.at("match").fail("lets everybody in the world in: anybody gets a token of this issuer; name your own organization, such as {repository: \"example/*\"}")
		}
	}
	if _, err := claims.ParseName(t.User); err != nil {
		s.at("user").fail("%s", err)
	}
	for i, text := range t.Groups {
		if _, err := claims.ParseName(text); err != nil {
			s.at("groups").item(i).fail("%s", err)
		}
	}
	validateCAs(t.CABundle, s.at("caBundle"))
}

// validateIssuer follows OpenID Connect Discovery 1.0, 4: an issuer is an https URL without
// a query.
func validateIssuer(issuer string, at spot) {
	u, err := url.Parse(issuer)
	switch {
	case issuer == "":
		at.fail("required: the issuer's URL, as its tokens have it in iss")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		at.fail("must be a URL without a query, such as https://token.actions.githubusercontent.com")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		at.fail("must be https: who is on the way could put in keys of his own")
	}
}

// validateNamesOf holds names that are made of claims away from those of others.
func (a Auth) validateNamesOf(t Trust, s spot) {
	name, err := claims.ParseName(t.User)
	begin, whole := name.Fixed()
	if err == nil && strings.HasPrefix(begin, robot.UserPrefix) {
		s.at("user").fail("must not begin with robot:, as robots alone do")
	}
	if err != nil || whole {
		return
	}
	for _, u := range a.Users {
		if strings.HasPrefix(u.Name, begin) {
			s.at("user").fail("a token could log in as a user of auth.users, whose name begins with the same text: take another one")
		}
	}
}

// makes says whether a token that the item lets in can be a user, or in a group, of a name.
func (t Trust) makesUser(name string) bool { return makes(t.User, name) }

func (t Trust) makesGroup(name string) bool {
	return slices.ContainsFunc(t.Groups, func(text string) bool { return makes(text, name) })
}

func makes(text, name string) bool {
	n, err := claims.ParseName(text)
	return err == nil && n.Makes(name)
}

// servedBy says whether a rule can be for somebody whom the item lets in.
func (t Trust) servedBy(r Rule) bool {
	return r.Anonymous || slices.Contains(r.Users, acl.Everyone) || slices.ContainsFunc(r.Users, t.makesUser) || slices.ContainsFunc(r.Groups, t.makesGroup)
}

// fixedGroups are the groups of all whom the item lets in, whatever their claims.
func (t Trust) fixedGroups() []string {
	var fixed []string
	for _, text := range t.Groups {
		if !strings.Contains(text, "{") {
			fixed = append(fixed, text)
		}
	}
	return fixed
}

// way is how somebody logs in by the item, in words.
func (t Trust) way() string {
	way := "with an ID token of " + t.Issuer
	if len(t.fixedGroups()) < len(t.Groups) {
		way += " (without the groups that are made of its claims)"
	}
	return way
}
