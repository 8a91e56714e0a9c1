package front

import (
	"mime"
	"net/http"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// manifestTypes are the media types of what the registry keeps as manifests: OCI's, and
// Docker's schema 2.
var manifestTypes = []string{
	v1.MediaTypeImageManifest, v1.MediaTypeImageIndex,
	"application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json",
}

// get gets a manifest as it is stored. The application is told that the client takes
// all types: it would convert some, and does not know what RFC 9110, 12.5.1, says of a
// client that names none, or a range of them.
func (f Front) get(a *answer, r *http.Request, q route.Request) {
	wanted := r.Header.Values("Accept")
	a.judge = func(h http.Header) *route.Refusal {
		if accepts(wanted, h.Get("Content-Type")) {
			return nil
		}
		return route.NotAccepted
	}
	if f.Manifest != nil && f.Manifest(a, r, q) {
		return
	}
	out := *r
	out.Header = r.Header.Clone()
	out.Header["Accept"] = manifestTypes
	f.App.ServeHTTP(a, &out)
}

// accepts tells whether a client that sends the headers Accept takes a manifest of a
// type. One that names no type of manifests at all takes each.
func accepts(headers []string, of string) bool {
	named := false
	for _, header := range headers {
		for text := range strings.SplitSeq(header, ",") {
			one, _, err := mime.ParseMediaType(text)
			if err != nil {
				continue
			}
			if one == of || strings.HasSuffix(one, "/*") {
				return true
			}
			named = named || isManifest(one)
		}
	}
	return !named
}

func isManifest(mediaType string) bool {
	for _, m := range manifestTypes {
		if m == mediaType {
			return true
		}
	}
	return false
}
