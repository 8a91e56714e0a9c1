package config

import "github.com/redoubt-registry/redoubt/appliance/access/acl"

func (r Immutable) validate(s spot) {
	validateRepositories(r.Repositories, s)
	if len(r.Tags) == 0 {
		s.at("tags").fail("required: patterns of tags, such as [\"v*\"], or [\"*\"] for all")
	}
	validateTags(r.Tags, s.at("tags"))
	validateTags(r.Except, s.at("except"))
}

// validateRepositories checks the patterns of repositories of a rule, at least one.
func validateRepositories(patterns []string, s spot) {
	if len(patterns) == 0 {
		s.at("repositories").fail("required: patterns of repositories, such as [\"team/**\"], or [\"**\"] for all")
	}
	for i, text := range patterns {
		if problem := acl.PatternProblem(text); problem != "" {
			s.at("repositories").item(i).fail("%s", problem)
		}
	}
}

func validateTags(patterns []string, s spot) {
	for i, text := range patterns {
		if problem := acl.TagPatternProblem(text); problem != "" {
			s.item(i).fail("%s", problem)
		}
	}
}
