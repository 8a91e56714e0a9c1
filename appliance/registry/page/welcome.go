package page

import (
	_ "embed"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Welcome answers at the root with what this is and how to log in at host, and at the name
// that the reader came by; and every other path with 404.
type Welcome struct{ Host string }

// place is a host with or without a port, as docker takes it.
var place = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// reached is the name that a reader came by, where that is another one than the
// registry's. A request may claim any name: what is none is left out.
func (p Welcome) reached(r *http.Request) string {
	host := strings.TrimSuffix(r.Host, ":443")
	if strings.EqualFold(host, p.Host) || !place.MatchString(host) {
		return ""
	}
	return host
}

func (p Welcome) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		writeJSON(w, http.StatusNotFound, ociErrors("NOT_FOUND", "there is nothing here; the registry is under /v2/", nil))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeJSON(w, http.StatusMethodNotAllowed, ociErrors("UNSUPPORTED", "this page can only be read", nil))
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	writeHTML(w, http.StatusOK, welcomeHTML, struct{ Host, Reached string }{p.Host, p.reached(r)})
}

// Unavailable answers 503 with an OCI error body.
func Unavailable(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", "5")
	writeJSON(w, http.StatusServiceUnavailable, ociErrors("UNAVAILABLE", message, nil))
}

// Later answers 503 with an OCI error body, and with the reason in the status line
// where docker can read it there. The client may try again after so many seconds.
func Later(w http.ResponseWriter, r *http.Request, seconds int, message string) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Cache-Control", "no-store")
	body := encode(ociErrors("UNAVAILABLE", message, nil))
	if !writeReason(w, r, message, body) {
		write(w, http.StatusServiceUnavailable, jsonType, body)
	}
}

// TooMany answers 429 with an OCI error body (distribution-spec, TOOMANYREQUESTS):
// the client may try again after so long, in whole seconds.
func TooMany(w http.ResponseWriter, after time.Duration, message string) {
	w.Header().Set("Retry-After", strconv.Itoa(int(after.Seconds())))
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusTooManyRequests, ociErrors("TOOMANYREQUESTS", message, nil))
}

// Errors answers with errors of the specification.
func Errors(w http.ResponseWriter, status int, errors ...OCIError) {
	writeJSON(w, status, ociList{errors})
}

// Refused answers with an OCI error body.
func Refused(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, ociErrors("DENIED", message, nil))
}

//go:embed welcome.html
var welcomeHTML string
