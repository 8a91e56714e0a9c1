// Package etag answers conditional requests for manifests. Upstream compares
// If-None-Match with the digest that was asked for before it looks whether there is
// such a manifest, and only where the header is one strong tag.
package etag

import (
	"net/http"
	"strings"
)

// Handler calls next, whose requests for manifests are unconditional, and answers
// 304 where the client has what next found (RFC 9110, 13.1.2 and 15.4.5).
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wanted := r.Header.Values("If-None-Match")
		if len(wanted) == 0 || r.Method != http.MethodGet && r.Method != http.MethodHead || !strings.Contains(r.URL.Path, "/manifests/") {
			next.ServeHTTP(w, r)
			return
		}
		r = r.Clone(r.Context())
		r.Header.Del("If-None-Match")
		next.ServeHTTP(&writer{ResponseWriter: w, wanted: strings.Join(wanted, ",")}, r)
	})
}

// Matches tells whether a header If-None-Match names a tag: as "*", or in its list,
// by the weak comparison. A tag without quotes is taken, as upstream does.
func Matches(header, tag string) bool {
	tag = opaque(tag)
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || one != "" && opaque(one) == tag {
			return true
		}
	}
	return false
}

// opaque is a tag without its weakness and its quotes. The tags of manifests are
// digests, which have neither commas nor quotes in them.
func opaque(tag string) string {
	return strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
}

// writer turns an answer into 304.
type writer struct {
	http.ResponseWriter
	wanted          string
	begun, replaced bool
}

func (w *writer) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = status >= 200
	if tag := w.Header().Get("ETag"); status == http.StatusOK && tag != "" && Matches(w.wanted, tag) {
		w.replaced = true
		w.Header().Del("Content-Length")
		w.Header().Del("Content-Type")
		status = http.StatusNotModified
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.replaced {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets the handler reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
