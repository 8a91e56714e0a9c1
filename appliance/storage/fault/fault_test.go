package fault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
)

func TestHandler(t *testing.T) {
	trouble := errors.New("trouble")
	none := func(context.Context, error) {}
	for name, c := range map[string]struct {
		note   func(context.Context, error)
		status int
		want   int
	}{
		"an error with a fault":         {fault.Note, 500, 503},
		"a mistake that was none":       {fault.Note, 404, 503},
		"a success in spite of a fault": {fault.Note, 201, 201},
		"a success that is none":        {fault.Lose, 202, 503},
		"an error without a fault":      {none, 500, 500},
		"a mistake of the client":       {none, 404, 404},
		"no login":                      {fault.Note, 401, 401},
		"a success":                     {none, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			h := fault.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.note(r.Context(), trouble)
				w.Header().Set("Location", "/there")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, "theirs")
			}), func(w http.ResponseWriter, err error) {
				if !errors.Is(err, trouble) {
					t.Errorf("the reason is %v", err)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "ours")
			})
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
			body := map[bool]string{true: "ours", false: "theirs"}[c.want == 503]
			if rec.Code != c.want || rec.Body.String() != body || (rec.Header().Get("Location") == "") != (body == "ours") {
				t.Errorf("%d, %q, %v", rec.Code, rec.Body, rec.Header())
			}
		})
	}
}

// Outside of a request nothing happens.
func TestNoRequest(t *testing.T) { fault.Note(t.Context(), errors.New("trouble")) }
