package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// origin is what a browser calls a page's origin (RFC 6454, 6.2), as far as a page of the
// web has one.
var origin = regexp.MustCompile(`^(\*|null|https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?)$`)

// validateOrigins checks who may use the registry from a page: a browser compares an origin
// as it stands, and says nothing to the page of what it refuses.
func (c Config) validateOrigins(s spot) {
	type place struct {
		value string
		at    spot
	}
	var allowed []place
	credentials := false
	see := func(name, value string, at spot) {
		switch strings.ToLower(name) {
		case "access-control-allow-origin":
			allowed = append(allowed, place{value, at})
		case "access-control-allow-credentials":
			credentials = credentials || strings.TrimSpace(value) == "true"
		}
	}
	for i, h := range c.Listen.Headers {
		for j, v := range h.Values {
			see(h.Name, v, s.at("listen").at("headers").item(i).at("values").item(j))
		}
	}
	for name, values := range overlayHeaders(c.Registry) {
		for j, v := range values {
			see(name, fmt.Sprint(v), s.at("registry").at("http").at("headers").at(name).item(j))
		}
	}
	for _, a := range allowed {
		origins := strings.FieldsFunc(a.value, func(r rune) bool { return r == ',' || r == ' ' })
		if len(origins) == 0 || slices.ContainsFunc(origins, func(o string) bool { return !origin.MatchString(o) }) {
			a.at.fail("not an origin: https://HOST or https://HOST:PORT in lower case, without a path and without a / at the end, or *")
		} else if credentials && slices.Contains(origins, "*") {
			a.at.warn("browsers refuse * together with Access-Control-Allow-Credentials: name the origin")
		}
	}
}

// overlayHeaders are the headers of the registry: overlay.
func overlayHeaders(registry map[string]any) map[string][]any {
	http, _ := registry["http"].(map[string]any) // other kinds are refused elsewhere
	headers, _ := http["headers"].(map[string]any)
	out := map[string][]any{}
	for name, values := range headers {
		out[name], _ = values.([]any)
	}
	return out
}
