package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/target"
)

// endpointName is the name of a directory too.
var endpointName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// told are the actions that an endpoint can be told of.
var told = []string{"push", "pull", "delete"}

const maxEndpoints = 50

func validateNotifications(all []Notification, s spot) {
	if len(all) > maxEndpoints {
		s.fail("too many: at most %d", maxEndpoints)
	}
	seen := map[string]bool{}
	for i, n := range all {
		at := s.item(i)
		n.validate(at)
		if n.Name != "" && seen[n.Name] {
			at.at("name").fail("this name was given before: each endpoint needs its own")
		}
		seen[n.Name] = true
	}
}

func (n Notification) validate(s spot) {
	switch {
	case n.Name == "":
		s.at("name").fail("required: what the endpoint is called, such as ci")
	case !endpointName.MatchString(n.Name):
		s.at("name").fail("must be at most 63 lower-case letters, digits and -, and not begin or end with -")
	}
	n.validateURL(s.at("url"))
	n.validateSecret(s.at("secret"))
	n.Authorization.validate(s.at("authorization"))
	if literal, ok := n.Authorization.literal(); ok {
		if err := HeaderProblem(literal); err != nil {
			s.at("authorization").fail("%s", err)
		}
	}
	if n.Format != "" {
		s.at("format").oneOf(n.Format, "distribution", "cloudevents")
	}
	for i, text := range n.Repositories {
		if problem := acl.PatternProblem(text); problem != "" {
			s.at("repositories").item(i).fail("%s", problem)
		}
	}
	for i, action := range n.Actions {
		at := s.at("actions").item(i)
		at.oneOf(action, told...)
		if slices.Contains(n.Actions[:i], action) {
			at.fail("this action was given before")
		}
	}
	validateCAs(n.CABundle, s.at("caBundle"))
	if n.Spool != "" {
		validateSize(n.Spool, s.at("spool"))
	}
}

func (n Notification) validateURL(at spot) {
	n.URL.validate(at)
	literal, ok := n.URL.literal()
	switch {
	case n.URL == "":
		at.fail("required: where events are posted, such as https://ci.example.com/hook")
	case ok:
		if err := EndpointProblem(literal); err != nil {
			at.fail("%s", err)
		}
	}
}

func (n Notification) validateSecret(at spot) {
	n.Secret.validate(at)
	literal, ok := n.Secret.literal()
	switch {
	case !ok:
	case literal == "":
		at.warn("requests are not signed: whoever reaches the endpoint can post what looks like them")
	default:
		if err := SigningProblem(literal); err != nil {
			at.fail("%s", err)
		}
	}
}

const leastSecret = 16

// SigningProblem says why requests are not signed with a secret; nil if they can be.
func SigningProblem(secret string) error {
	if len(secret) < leastSecret {
		return fmt.Errorf("too short: at least %d characters, such as openssl rand -hex 32 prints", leastSecret)
	}
	return nil
}

// HeaderProblem says why text cannot be the value of a header (RFC 9110, 5.5); nil if it can.
func HeaderProblem(text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return errors.New("a header value has no line break and no control character")
	}
	return nil
}

// EndpointProblem says why text cannot be the URL of an endpoint; nil if it can. It does not
// repeat the URL, which may be secret.
func EndpointProblem(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("must be a URL, such as https://ci.example.com/hook")
	}
	if u.User != nil {
		return errors.New("must have no user and no password in it: put them into authorization")
	}
	if u.Fragment != "" {
		return errors.New("must have no # in it: what follows is not sent")
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil // a name: where it leads is looked at with each connection
	}
	if err := target.Problem(address, true); err != nil {
		return err
	}
	if u.Scheme == "http" && !target.Private(address) {
		return errors.New("must be https: http is for private addresses alone, since who is on the way reads and changes it")
	}
	return nil
}
