package config

import (
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
)

func (a Auth) validateRobots(s spot) {
	names, hashes := map[string]bool{}, map[string]bool{}
	for i, r := range a.Robots {
		at := s.item(i)
		r.validate(at)
		if r.Name != "" && names[r.Name] {
			at.at("name").fail("a robot of this name was given before")
		}
		if r.TokenHash != "" && hashes[r.TokenHash] {
			at.at("tokenHash").fail("another robot has this token: make one for each")
		}
		names[r.Name], hashes[r.TokenHash] = true, true
	}
}

func (r Robot) validate(s spot) {
	if problem := robot.NameProblem(r.Name); problem != "" {
		s.at("name").fail("%s", problem)
	}
	if problem := robot.HashProblem(r.TokenHash); problem != "" {
		s.at("tokenHash").fail("%s", problem)
	}
	if r.Expires == "" {
		s.at("expires").warn("the token does not end by itself: give it a day, such as \"2027-01-01\"")
	} else if _, err := robot.ParseExpires(r.Expires); err != nil {
		s.at("expires").fail("%s", err)
	}
	if len(r.Repositories) > 0 {
		validateRepositories(r.Repositories, s)
	}
	for i, a := range r.Actions {
		s.at("actions").item(i).oneOf(a, "pull", "push", "delete", "admin")
	}
}

// Robot is a robot of the configuration as the registry knows it; it must be valid.
func (r Robot) Robot() robot.Robot {
	out := robot.Robot{Name: r.Name, Hash: r.TokenHash, Groups: r.Groups, Repositories: r.Repositories}
	for _, a := range r.Actions {
		out.Actions = append(out.Actions, acl.Action(a))
	}
	out.Expires, _ = robot.ParseExpires(r.Expires) // zero where it is empty
	return out
}

// cut is a ruling where the token is for less than the rules allow.
func (r Robot) cut(by Ruling, at Origin, action acl.Action, repository string) Ruling {
	within, err := r.Robot().Within()
	if err == nil && by.Allowed && within != nil && !within.Decide(acl.Who{User: robot.UserPrefix + r.Name}, action, repository).Allowed {
		by.Allowed, by.Why = false, fmt.Sprintf("the token of auth.robots (%s) is for other repositories or actions", at)
	}
	return by
}
