package layout

import "regexp"

// maxName is the most letters of a repository's name. A file may have no longer one.
const maxName = 255

// The names of repositories and tags (OCI distribution specification, "Pulling
// manifests").
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// ValidRepository tells whether a repository may have a name.
func ValidRepository(name string) bool {
	return len(name) <= maxName && repositoryName.MatchString(name)
}

// ValidTag tells whether a tag may have a name.
func ValidTag(name string) bool { return tagName.MatchString(name) }
