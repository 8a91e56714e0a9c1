// Package fault carries why a storage could not do what it was asked for to the
// front of the registry: its own failures, and mistakes of the client's, which
// upstream answers them with 500, or with what they look like from above, or
// not at all.
package fault

import (
	"context"
	"net/http"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
)

type key struct{}

// record is what went wrong in one request.
type record struct {
	mu      sync.Mutex
	err     error
	lost    bool
	refusal *errcode.Error
	status  int // of the refusal; 0: the one of its code
}

// Note keeps that the storage failed a request; later attempts may succeed.
func Note(ctx context.Context, err error) { note(ctx, err, false) }

// Lose is Note where the request must not be answered as a success.
func Lose(ctx context.Context, err error) { note(ctx, err, true) }

func note(ctx context.Context, err error, lost bool) {
	r, ok := ctx.Value(key{}).(*record)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.lost = r.lost || lost
}

// Refuse keeps that a request cannot be done for a reason of its own, which
// upstream would answer with 500, and returns that reason.
func Refuse(ctx context.Context, reason errcode.Error) error {
	if r, ok := ctx.Value(key{}).(*record); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refusal = &reason
	}
	return reason
}

// RefuseWith is Refuse with another status than that of the reason's code.
func RefuseWith(ctx context.Context, status int, reason errcode.Error) error {
	if r, ok := ctx.Value(key{}).(*record); ok {
		r.mu.Lock()
		r.status = status
		r.mu.Unlock()
	}
	return Refuse(ctx, reason)
}

// coded answers with a status of its own.
type coded struct {
	http.ResponseWriter
	status int
}

func (c coded) WriteHeader(status int) {
	if c.status != 0 {
		status = c.status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Handler calls next, and answers by unavailable instead when the storage has
// failed the request and next reports an error, or a success that is none. An
// error of a request that was refused is answered with the reason.
func Handler(next http.Handler, unavailable func(w http.ResponseWriter, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &record{}
		next.ServeHTTP(&writer{ResponseWriter: w, record: rec, unavailable: unavailable}, r.WithContext(context.WithValue(r.Context(), key{}, rec)))
	})
}

// writer replaces an answer.
type writer struct {
	http.ResponseWriter
	record      *record
	unavailable func(http.ResponseWriter, error)
	begun       bool
	replaced    bool
}

func (w *writer) WriteHeader(status int) {
	if w.begun || status < 200 {
		if !w.replaced {
			w.ResponseWriter.WriteHeader(status)
		}
		return
	}
	w.begun = true
	w.record.mu.Lock()
	err, lost, refusal, own := w.record.err, w.record.lost, w.record.refusal, w.record.status
	w.record.mu.Unlock()
	failed := status >= http.StatusBadRequest && status != http.StatusUnauthorized && status != http.StatusForbidden && status != http.StatusTooManyRequests
	if err == nil && refusal == nil || !failed && !lost {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.replaced = true
	of := []string{"Content-Length", "Content-Type", "Location", "Range", "Etag", "Docker-Content-Digest", "Cache-Control"}
	if err == nil && status == http.StatusRequestedRangeNotSatisfiable {
		of = of[:2] // the others say where an upload stands
	}
	for _, h := range of {
		w.Header().Del(h)
	}
	if err == nil {
		_ = errcode.ServeJSON(coded{w.ResponseWriter, own}, *refusal) // the client has gone
		return
	}
	w.unavailable(w.ResponseWriter, err)
}

func (w *writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Flush and Unwrap let the handler reach the connection.
func (w *writer) Flush() {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
