package logs

import "strings"

// masked is a request's target without an upload's state, which is a signed
// token.
func masked(uri string) string {
	path, query, ok := strings.Cut(uri, "?")
	if !ok {
		return uri
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		if strings.HasPrefix(p, "_state=") {
			parts[i] = "_state=-"
		}
	}
	return path + "?" + strings.Join(parts, "&")
}
