package logs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxField is the most that is logged of one value of a request, in bytes: a
// stranger must not fill the journal.
const maxField = 256

// outside makes a value that a client sent fit for a log: at most maxField bytes
// of it, and nothing that a terminal would act on.
func outside(s string) string {
	cut := ""
	if len(s) > maxField {
		s, cut = s[:maxField], "…"
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s) + cut
}

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
