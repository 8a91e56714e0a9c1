package route

import (
	"regexp"
	"strconv"
	"strings"
)

// maxName is the most letters of a repository's name. A file of the store may have
// no longer one.
const maxName = 255

var (
	// name and tag are the distribution specification's, "Pulling manifests".
	name = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	// id is what an upload is called here: a UUID, RFC 9562, 4.
	id = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	// contentRange is the specification's own form, which is not that of RFC 9110.
	contentRange = regexp.MustCompile(`^([0-9]+)-([0-9]+)$`)
)

func validName(s string) bool { return len(s) <= maxName && name.MatchString(s) }

func validTag(s string) bool { return tag.MatchString(s) }

func validID(s string) bool { return id.MatchString(s) }

// validContentRange tells whether the Content-Range headers of a chunk are none, or
// one with a begin and an end.
func validContentRange(values []string) bool {
	if len(values) == 0 {
		return true
	}
	parts := contentRange.FindStringSubmatch(strings.Join(values, ","))
	if parts == nil {
		return false
	}
	for _, number := range parts[1:] {
		if _, err := strconv.ParseInt(number, 10, 64); err != nil {
			return false
		}
	}
	return true
}
