package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// htpasswd makes users of the lines of auth.htpasswd, in the layer that has them: all
// that is said of users, such as how they merge, holds for them too. lines are those
// of the layer.
func (c *checker) htpasswd(layer *value, lines []string) {
	auth := layer.get("auth")
	text := auth.get("htpasswd")
	if text != nil && text.kind == bad { // who it has is not known
		auth.near = append(auth.near, "users")
	}
	if text == nil || text.kind != scalar || text.scalar == "" {
		return
	}
	auth.unset("htpasswd")
	users := &value{kind: list, at: text.at, named: true}
	if have := auth.get("users"); have != nil && have.kind == list {
		*users = *have
	} else if have != nil && have.kind == bad {
		return
	}
	line, block := text.at.Line, false
	if line > 0 && line <= len(lines) {
		_, after, _ := strings.Cut(lines[line-1], "htpasswd")
		block = strings.HasPrefix(strings.TrimLeft(after, "\"': \t"), "|")
	}
	for i, entry := range strings.Split(text.scalar.(string), "\n") {
		at := yaml.Node{Line: line, Column: text.at.Column}
		if block {
			at.Line, at.Column = line+1+i, 1
			if at.Line <= len(lines) {
				at.Column += len(lines[at.Line-1]) - len(strings.TrimLeft(lines[at.Line-1], " \t"))
			}
		}
		entry = strings.Trim(entry, " \t\r")
		if entry != "" && !strings.HasPrefix(entry, "#") {
			users.items = append(users.items, c.htpasswdLine(&at, entry))
		}
	}
	if len(users.items) > 0 {
		auth.set("users", users)
	}
}

// htpasswdLine is one line, NAME:HASH, as a user.
func (c *checker) htpasswdLine(at *yaml.Node, line string) *value {
	const path = "auth.htpasswd"
	name, hash, ok := strings.Cut(line, ":")
	switch {
	case name == "file" || name == "cred":
		return c.fail(at, path, "takes the lines themselves, below a |; auth.users[].passwordHash takes file:PATH with one hash")
	case !ok || strings.ContainsAny(hash, " \t"):
		return c.fail(at, path, "must be lines of a name, a colon and a hash, as htpasswd -nBC 10 prints them; after | each has a line of its own")
	case otherHash(hash):
		return c.fail(at, path, "not a bcrypt hash, which alone is taken: make it with htpasswd -nBC 10")
	}
	if problem := nameProblem(name); problem != "" {
		return c.fail(at, path, "%s", problem)
	}
	if problem, warning := hashProblem(hash); problem != "" && !warning {
		return c.fail(at, path, "%s", problem)
	}
	origin := c.at(at)
	origin.Path = path
	user := newGroup(origin)
	user.set("name", &value{at: origin, scalar: name})
	user.set("passwordHash", &value{at: origin, scalar: hash})
	return user
}

// otherHash tells of the other forms that htpasswd makes: MD5, SHA-1 and SHA-2.
func otherHash(hash string) bool {
	for _, form := range []string{"$apr1$", "{SHA}", "{SSHA}", "$1$", "$5$", "$6$"} {
		if strings.HasPrefix(hash, form) {
			return true
		}
	}
	return false
}
