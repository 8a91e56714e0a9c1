package appliance

import (
	"slices"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// A CA refuses an order in which a wildcard includes another name.
func TestAWildcardIncludesNames(t *testing.T) {
	all := target{cfg: config.Config{Hostname: "registry.example.com",
		Aliases: []string{"*.Example.com", "example.com", "a.b.example.com", "192.0.2.7"}}}
	if got := all.names(); !slices.Equal(got, []string{"*.Example.com", "example.com", "a.b.example.com", "192.0.2.7"}) {
		t.Errorf("%v", got)
	}
}
