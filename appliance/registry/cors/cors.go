// Package cors lets pages of other origins use the registry from a browser, where the
// configured headers name their origins (Fetch Standard, "CORS protocol":
// https://fetch.spec.whatwg.org/#http-cors-protocol).
package cors

import (
	"net/http"
	"slices"
	"strings"
)

const allowOrigin = "Access-Control-Allow-Origin"

// defaults are what a page that only reads needs, for what is not configured beside the
// origin.
var defaults = map[string]string{
	"Access-Control-Allow-Methods":  "GET, HEAD",
	"Access-Control-Allow-Headers":  "Authorization, Accept, Cache-Control",
	"Access-Control-Expose-Headers": "Docker-Content-Digest, Link, WWW-Authenticate",
}

// Policy is the headers that every answer gets, and who may ask before a request.
type Policy struct {
	headers http.Header
	origins []string // none: no page of another origin is let in
}

// New reads the configured headers, under names in any case.
func New(configured http.Header) Policy {
	p := Policy{headers: http.Header{}}
	for name, values := range configured {
		for _, v := range values {
			p.headers.Add(name, v)
		}
	}
	for origin := range strings.SplitSeq(strings.Join(p.headers.Values(allowOrigin), ","), ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			p.origins = append(p.origins, origin)
		}
	}
	if p.origins == nil {
		return p
	}
	for name, value := range defaults {
		if p.headers.Get(name) == "" {
			p.headers.Set(name, value)
		}
	}
	return p
}

// Set puts the headers into the answer to r. A browser takes one origin only, so of several
// it is told the one of the page.
func (p Policy) Set(answer http.Header, r *http.Request) {
	for name, values := range p.headers {
		for _, v := range values {
			answer.Add(name, v)
		}
	}
	if len(p.origins) < 2 {
		return
	}
	answer.Add("Vary", "Origin")
	answer.Del(allowOrigin)
	if origin := r.Header.Get("Origin"); slices.Contains(p.origins, origin) {
		answer.Set(allowOrigin, origin)
	} else if slices.Contains(p.origins, "*") {
		answer.Set(allowOrigin, "*")
	}
}

// Preflight answers the question that a browser asks before a request, and says whether it
// did. A browser sends no login with it, so it is answered without one: it says nothing but
// the configured headers, which Set has put into the answer.
func (p Policy) Preflight(w http.ResponseWriter, r *http.Request) bool {
	if p.origins == nil || r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
