package etag_test

import (
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/registry/etag"
)

func TestMatches(t *testing.T) {
	const tag = `"sha256:ab"`
	for header, want := range map[string]bool{
		tag: true, "W/" + tag: true, "*": true, "sha256:ab": true,
		`"x", ` + tag: true, `"x",W/` + tag + `, "y"`: true,
		"": false, `"x"`: false, `"sha256:abc"`: false, `W/"sha256:a"`: false, ",": false,
	} {
		if etag.Matches(header, tag) != want {
			t.Errorf("%s: %v", header, !want)
		}
	}
}
