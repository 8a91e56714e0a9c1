package config

import "strings"

func (c Config) validateQuotas(s spot) {
	seen := map[string]bool{}
	for i, q := range c.Quotas {
		at := s.item(i)
		validateRepositories(q.Repositories, at)
		key := strings.Join(q.Repositories, " ")
		if seen[key] && key != "" {
			at.at("repositories").fail("there is a quota for the same repositories before it")
		}
		seen[key] = true
		switch {
		case q.Size == "":
			at.at("size").fail("required: how much they may take, such as 500GiB")
		case Bytes(q.Size) < 1<<20:
			at.at("size").fail("must be 1MiB to 999999TiB, such as 500GiB")
		}
	}
}
