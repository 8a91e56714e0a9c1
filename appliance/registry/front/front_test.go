package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

const one = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// errBody is a body that must not be read.
type errBody struct{ t *testing.T }

func (b errBody) Read([]byte) (int, error) {
	b.t.Error("the body is read")
	return 0, errors.New("read")
}

func (errBody) Close() error { return nil }

// send gives a request to a front of app.
func send(app http.HandlerFunc, r *http.Request) *httptest.ResponseRecorder {
	f := Front{App: app, Base: "/v2", Catalog: 1000, Tags: 100}
	w := httptest.NewRecorder()
	r, q, refusal := f.Read(r)
	f.Serve(w, r, q, refusal)
	return w
}

// Upstream looks for form values before it asks for a login. A body that says that
// it is a form is not read for them.
func TestNoBodyIsAForm(t *testing.T) {
	for _, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
			path := "/v2/app/blobs/uploads/"
			if method != http.MethodPost {
				path += "0f2d6a0c-9a31-4e35-8d6e-3c1f6d5b7a90"
			}
			r := httptest.NewRequest(method, path+"?from=other", errBody{t})
			r.Header.Set("Content-Type", kind)
			send(func(_ http.ResponseWriter, r *http.Request) {
				if r.FormValue("from") != "other" {
					t.Errorf("%s: the query is lost: %v", method, r.Form)
				}
			}, r)
		}
	}
}

// A refusal is told to who is logged in; to others the application says what it says
// of a login, and sees nothing else of the request.
func TestRefusalNeedsALogin(t *testing.T) {
	for status, want := range map[int]int{200: 400, 401: 401, 403: 403, 429: 429, 503: 503, 500: 400} {
		r := httptest.NewRequest(http.MethodPut, "/v2/Upper/manifests/x", errBody{t})
		w := send(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/v2/" || r.ContentLength != 0 {
				t.Errorf("the application sees %s %s", r.Method, r.URL)
			}
			w.Header().Set("Content-Length", "2")
			w.WriteHeader(status)
			fmt.Fprint(w, "{}")
		}, r)
		if w.Code != want || (want == 400) != strings.Contains(w.Body.String(), "NAME_INVALID") {
			t.Errorf("%d becomes %d %s", status, w.Code, w.Body)
		}
	}
}

// Errors are in the specification's form, and say nothing of the machine.
func TestErrorsAreCleaned(t *testing.T) {
	for body, want := range map[string]string{
		"404 page not found\n": `[{"code":"NAME_UNKNOWN","message":"not found"}]`,
		"":                     `[{"code":"NAME_UNKNOWN","message":"not found"}]`,
		`{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"a":"b"}}]}`:                                                       `[{"code":"UNKNOWN","message":"unknown error"}]`,
		`{"errors":[{"code":"BLOB_UNKNOWN","message":"m","detail":"` + one + `"}]}`:                                                          `[{"code":"BLOB_UNKNOWN","message":"m","detail":"` + one + `"}]`,
		`{"errors":[{"code":"A","message":"m","detail":{"name":"team/app"}},{"code":"B","message":"m","detail":[{"x":"open /var/lib/x"}]}]}`: `[{"code":"A","message":"m","detail":{"name":"team/app"}},{"code":"B","message":"m"}]`,
		`{"errors":[{"code":"A","message":"m","detail":{"Path":"/docker/registry/v2/x","DriverName":"s3"}}]}`:                                `[{"code":"A","message":"m"}]`,
		`{"errors":[{"code":"A","message":"m","detail":"s3aws: docker/registry/v2/x"}]}`:                                                     `[{"code":"A","message":"m"}]`,
	} {
		w := send(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
		}, httptest.NewRequest(http.MethodGet, "/v2/app/blobs/"+one, nil))
		if got := strings.TrimSpace(w.Body.String()); w.Code != 404 || got != `{"errors":`+want+`}` || w.Header().Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s\nbecomes %d %v %s", body, w.Code, w.Header(), got)
		}
	}
}

// Each status of an error without words has some.
func TestEveryErrorHasWords(t *testing.T) {
	for status := 400; status < 600; status++ {
		w := send(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }, httptest.NewRequest(http.MethodGet, "/v2/", nil))
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != status || len(body.Errors) != 1 || body.Errors[0].Code == "" || body.Errors[0].Message == "" {
			t.Errorf("%d: %d %s, %v", status, w.Code, w.Body, err)
		}
	}
}

// What went well passes as it is, at once.
func TestAnswersPass(t *testing.T) {
	w := send(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "well")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	if w.Code != 200 || w.Body.String() != "well" || !w.Flushed || w.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestManifestsAreChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		status int
	}{
		"small":              {strings.NewReader(`{"schemaVersion":2}`), 19, 201},
		"as large as can be": {strings.NewReader(strings.Repeat(" ", route.MaxManifest)), route.MaxManifest, 201},
		"announced larger":   {strings.NewReader(strings.Repeat(" ", route.MaxManifest+1)), route.MaxManifest + 1, 413},
		"larger":             {strings.NewReader(strings.Repeat(" ", route.MaxManifest+1)), -1, 413},
		"endless":            {endless{}, -1, 413},
		"schema 1":           {strings.NewReader(`{"schemaVersion":1}`), -1, 400},
		"no schema":          {strings.NewReader(`{}`), -1, 400},
	} {
		r := httptest.NewRequest(http.MethodPut, "/v2/app/manifests/v1", tc.body)
		r.ContentLength = tc.length
		w := send(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusCreated)
		}, r)
		if w.Code != tc.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	// The application may answer without reading it.
	w := send(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		httptest.NewRequest(http.MethodPut, "/v2/app/manifests/v1", errBody{t}))
	if w.Code != 401 {
		t.Error(w.Code)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLimitRanges(t *testing.T) {
	many := func(n, step, length int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("%d-%d", i*step, i*step+length-1))
		}
		return strings.Join(all, ",")
	}
	for set, want := range map[string]string{
		"0-9":                            "bytes=0-9",
		"0-9,20-29":                      "bytes=0-9,20-29",
		"20-29, 0-9":                     "bytes=20-29,0-9",
		"0-9,10-19":                      "bytes=0-9,10-19",
		"0-9,5-19":                       "bytes=0-19",
		"50-,0-9,60-70":                  "bytes=0-9,50-",
		"-5,-10,0-1":                     "bytes=0-1,-10",
		many(16, 10, 5):                  "bytes=" + many(16, 10, 5),
		many(17, 10, 5):                  "",
		many(16, 10, 5) + ",-1":          "",
		many(5000, 10, 11):               "bytes=0-50000",
		strings.Repeat("0-1,", 5000):     "", // not in order
		strings.Repeat("-1,", 20) + "-1": "bytes=-1",
		"x,y":                            "bytes=x,y",
		"5-1,0-1":                        "bytes=5-1,0-1",
		"0-9,99999999999999999999-":      "bytes=0-9,99999999999999999999-",
	} {
		h := http.Header{"Range": {"bytes=" + set}}
		limitRanges(h)
		if got := h.Get("Range"); got != want {
			t.Errorf("%.60s: %.60s, want %.60s", set, got, want)
		}
	}
	for text, want := range map[string]string{"lines=1-2": "", "Bytes=0-9": "Bytes=0-9", "junk": "junk"} {
		h := http.Header{"Range": {text}}
		if limitRanges(h); h.Get("Range") != want {
			t.Errorf("%s: %s", text, h.Get("Range"))
		}
	}
	h := http.Header{"Range": strings.Split(strings.Repeat("bytes=0-1 ", 50), " ")}
	limitRanges(h)
	if h.Get("Range") != "" {
		t.Errorf("50 headers: %v", h)
	}
}
