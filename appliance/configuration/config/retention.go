package config

import "time"

// Within bounds the times of a rule of retention.
const (
	leastWithin = time.Hour
	mostWithin  = 20 * 365 * 24 * time.Hour
)

func (r RetentionRule) validate(s spot) {
	validateRepositories(r.Repositories, s)
	if len(r.Tags) == 0 {
		s.at("tags").fail("required: patterns of tags, such as [\"*\"] for all")
	}
	validateTags(r.Tags, s.at("tags"))
	validateTags(r.Protect, s.at("protect"))
	s.at("keep").between(r.Keep, 0, 100000)
	if r.PushedWithin != 0 {
		s.at("pushedWithin").lasts(r.PushedWithin, leastWithin, mostWithin)
	}
	if r.PulledWithin != 0 {
		s.at("pulledWithin").lasts(r.PulledWithin, leastWithin, mostWithin)
	}
}
