package config

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

func (a Auth) validate(s spot, clientAuth string) {
	if a.Realm == "" || len(a.Realm) > 100 || strings.ContainsAny(a.Realm, "\"\\\n\t") {
		s.at("realm").fail("must be 1 to 100 characters without quotes, backslashes and line breaks")
	}
	s.at("anonymous").oneOf(a.Anonymous, "none", "pull")
	a.validateCertificates(s.at("clientCertificates"), clientAuth)
	if len(a.Users)+len(a.ClientCertificates)+len(a.Robots)+len(a.OIDC.Trust) == 0 && !a.LDAP.inUse() {
		s.at("users").warn("no users: nobody can log in")
	}
	seen := map[string]bool{}
	for i, u := range a.Users {
		at := s.at("users").item(i)
		u.validate(at)
		if u.Name != "" && seen[u.Name] {
			at.at("name").fail("a user of this name was given before")
		}
		seen[u.Name] = true
	}
	a.validateRobots(s.at("robots"))
	a.LDAP.validate(s.at("ldap"))
	a.OIDC.validate(s.at("oidc"), s.at("users"), a)
	a.validateACL(s)
}

func (u User) validate(s spot) {
	validateUserName(u.Name, s.at("name"))
	u.PasswordHash.validate(s.at("passwordHash"))
	u.Password.validate(s.at("password"))
	switch {
	case u.PasswordHash == "" && u.Password == "" && !s.wanting[s.path+".password"] && !s.wanting[s.path+".passwordHash"]:
		s.fail("needs passwordHash (as htpasswd -nBC 10 prints it) or password")
	case u.PasswordHash != "" && u.Password != "":
		s.at("password").fail("exactly one of passwordHash and password; leave this one out")
	case u.PasswordHash != "":
		if hash, ok := u.PasswordHash.literal(); ok {
			validateHash(hash, s.at("passwordHash"))
		}
	case u.Password != "":
		if literal, ok := u.Password.literal(); ok {
			validatePassword(literal, s.at("password"))
		}
	}
}

func validatePassword(password string, at spot) {
	switch {
	case len(password) > 72:
		at.fail("too long: bcrypt takes at most 72 bytes")
	case strings.ContainsAny(password, "\n\t"):
		at.fail("must not hold a tab or a line break")
	default:
		at.warn("a password in the clear: prefer passwordHash, as htpasswd -nBC 10 prints it")
	}
}

var bcrypt = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)

// validateHash checks the form of a bcrypt hash, and that its cost neither
// gives the password away nor stops the machine: each step doubles the work.
func validateHash(hash string, at spot) {
	switch problem, warning := hashProblem(hash); {
	case warning:
		at.warn("%s", problem)
	case problem != "":
		at.fail("%s", problem)
	}
}

// hashProblem is what is wrong with a hash, or merely not good.
func hashProblem(hash string) (problem string, warning bool) {
	m := bcrypt.FindStringSubmatch(hash)
	if _, after, ok := strings.Cut(hash, ":"); m == nil && ok && bcrypt.MatchString(after) {
		return "must be the hash alone: leave out the name and the colon, or put the whole line below auth.htpasswd", false
	}
	if m == nil {
		return "not a bcrypt hash: $2y$, $2b$ or $2a$, a cost and 53 characters, as htpasswd -nBC 10 prints it", false
	}
	switch cost, err := strconv.Atoi(m[1]); {
	case err != nil || cost < 4 || cost > 15:
		return "the cost must be from 4 to 15; 10 to 12 is usual", false
	case cost < 10:
		return "the cost is low: such a hash is quickly guessed; 10 to 12 is usual", true
	}
	return "", false
}

func validateUserName(name string, at spot) {
	if problem := nameProblem(name); problem != "" {
		at.fail("%s", problem)
	}
}

func nameProblem(name string) string {
	switch {
	case name == "":
		return "required: the login's name"
	case len(name) > 255:
		return "too long: at most 255 bytes"
	case strings.ContainsAny(name, ":\n\t") || strings.TrimSpace(name) != name || strings.HasPrefix(name, "#"):
		return "must have no colon and no line break, no space at either end, and no # first"
	}
	return ""
}

func (a Auth) validateCertificates(s spot, clientAuth string) {
	if len(a.ClientCertificates) > 0 && clientAuth == "none" {
		s.fail("needs tls.clientAuth.mode optional or required: without it no client shows a certificate")
	}
	for i, c := range a.ClientCertificates {
		at := s.item(i)
		if _, err := cert.ParsePattern(c.Match); err != nil {
			at.at("match").fail("%s", err)
		}
		validateUserName(c.User, at.at("user"))
	}
}
