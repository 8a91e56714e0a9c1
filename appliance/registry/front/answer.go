package front

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// maxError is the most of an error's body that is looked at.
const maxError = 64 << 10

// answer passes on what the application answers, but an error in a form of its own:
// that of the specification, and without what concerns the machine.
type answer struct {
	http.ResponseWriter
	refusal *route.Refusal                   // to be told instead
	created func(http.Header)                // adds to the headers of a success; nil: nothing
	judge   func(http.Header) *route.Refusal // refuses what the application found; nil: nothing
	taken   func(http.Header)                // adds to the headers of 202; nil: nothing
	stands  func(http.Header)                // adds to those of 416 where an upload stands; nil: nothing
	unknown func() bool                      // there is no such repository; nil: it is not asked
	begun   bool
	status  int // that is answered
	failed  int // the status of an error, whose body is kept
	body    bytes.Buffer
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status == http.StatusOK && !a.begun && a.judge != nil {
		a.refusal = a.judge(a.Header())
	}
	switch {
	case a.begun:
	case status < 200:
		a.ResponseWriter.WriteHeader(status)
	case status >= http.StatusBadRequest || a.refusal != nil:
		a.begun, a.failed, a.status = true, status, status
	default:
		a.begun, a.status = true, status
		if status == http.StatusCreated && a.created != nil {
			a.created(a.Header())
		}
		if status == http.StatusAccepted && a.taken != nil {
			a.taken(a.Header())
		}
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed == 0 {
		return a.ResponseWriter.Write(p)
	}
	a.body.Write(p[:min(len(p), maxError-a.body.Len())])
	return len(p), nil
}

// Flush and Unwrap let the application reach the connection. An error is sent when
// it is complete.
func (a *answer) Flush() {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed == 0 {
		_ = http.NewResponseController(a.ResponseWriter).Flush()
	}
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// finish sends an error that was kept.
func (a *answer) finish() {
	if !a.begun && a.refusal != nil {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed == 0 {
		return
	}
	h := a.Header()
	switch a.failed {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
	default:
		if a.refusal != nil {
			for _, name := range []string{"Link", "Location", "Range", "Etag", "Docker-Content-Digest", "Cache-Control"} {
				h.Del(name)
			}
			if a.refusal.Allow != "" {
				h.Set("Allow", a.refusal.Allow)
			}
			page.Errors(a.ResponseWriter, a.refusal.Status, page.OCIError{Code: a.refusal.Code, Message: a.refusal.Message})
			return
		}
	}
	if a.failed == http.StatusRequestedRangeNotSatisfiable && a.stands != nil {
		a.stands(h)
	}
	list := read(a.body.Bytes())
	if len(list) == 0 {
		list = []page.OCIError{inWords(a.failed)}
	}
	for i := range list {
		list[i].Detail = clean(list[i])
	}
	if a.failed == http.StatusNotFound && a.unknown != nil && isContent(list[0].Code) && a.unknown() {
		list = []page.OCIError{{Code: "NAME_UNKNOWN", Message: "repository name not known to registry"}}
	}
	page.Errors(a.ResponseWriter, a.failed, list...)
}

// isContent tells whether an error's code says that some content is not there.
func isContent(code string) bool { return code == "MANIFEST_UNKNOWN" || code == "BLOB_UNKNOWN" }

// read reads the specification's form.
func read(body []byte) []page.OCIError {
	var of struct {
		Errors []page.OCIError `json:"errors"`
	}
	if json.Unmarshal(body, &of) != nil {
		return nil
	}
	return of.Errors
}

// inWords is an error that has only a status.
func inWords(status int) page.OCIError {
	code, ok := map[int]string{
		http.StatusUnauthorized:                 "UNAUTHORIZED",
		http.StatusForbidden:                    "DENIED",
		http.StatusNotFound:                     "NAME_UNKNOWN",
		http.StatusMethodNotAllowed:             "UNSUPPORTED",
		http.StatusRequestEntityTooLarge:        "SIZE_INVALID",
		http.StatusRequestedRangeNotSatisfiable: "RANGE_INVALID",
		http.StatusTooManyRequests:              "TOOMANYREQUESTS",
		http.StatusServiceUnavailable:           "UNAVAILABLE",
	}[status]
	if !ok {
		code = "UNKNOWN"
	}
	text := strings.ToLower(http.StatusText(status))
	if text == "" {
		text = "unknown error"
	}
	return page.OCIError{Code: code, Message: text}
}

// paths finds what may be a path of the machine or of its store: a slash that begins
// a word.
var paths = regexp.MustCompile(`(?:^|[^\w.%-])/|docker/registry/v2`)

// clean is the detail of an error without what only concerns the machine. What
// upstream cannot name it describes by its own insides.
func clean(e page.OCIError) any {
	if e.Code == "UNKNOWN" || hasPath(e.Detail) {
		return nil
	}
	return e.Detail
}

func hasPath(v any) bool {
	switch v := v.(type) {
	case string:
		return paths.MatchString(v)
	case []any:
		for _, item := range v {
			if hasPath(item) {
				return true
			}
		}
	case map[string]any:
		for name, item := range v {
			if name == "DriverName" || hasPath(item) {
				return true
			}
		}
	}
	return false
}
