package gateway

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// A Call is one of S3's that a service may not have.
type Call string

// The calls that services document as missing, or had none of for long.
const (
	DeleteObjects  Call = "DeleteObjects"  // Google Cloud Storage
	UploadPartCopy Call = "UploadPartCopy" // the same, and several gateways
	CopyObject     Call = "CopyObject"
)

// call names the call that a request is, where it is one of those above.
func call(r *http.Request) Call {
	copies := r.Header.Get("X-Amz-Copy-Source") != ""
	switch q := r.URL.Query(); {
	case r.Method == http.MethodPost && q.Has("delete"):
		return DeleteObjects
	case copies && q.Has("partNumber"):
		return UploadPartCopy
	case copies:
		return CopyObject
	}
	return ""
}

// Strict makes the gateway as strict as the strictest service is: the parts of an
// upload have one size, but for the last, which is not larger (Cloudflare R2), and
// there are no such calls as are named.
func (g *Gateway) Strict(missing ...Call) {
	p := parts{sizes: map[string]int64{}}
	g.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		for _, c := range missing {
			if c == call(r) {
				refuse(w, http.StatusNotImplemented, "NotImplemented", "A header or query you provided requested a function that is not implemented.")
				return true
			}
		}
		switch q := r.URL.Query(); {
		case r.Method == http.MethodPut && q.Has("partNumber"):
			p.note(r)
		case r.Method == http.MethodPost && q.Has("uploadId") && !p.even(r):
			refuse(w, http.StatusBadRequest, "InvalidPart", "All non-trailing parts must have the same length.")
			return true
		}
		return false
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message) // the client has gone
}

// parts are the sizes of what was uploaded, by upload and number.
type parts struct {
	mu    sync.Mutex
	sizes map[string]int64
}

func part(upload, number string) string { return upload + " " + number }

func (p *parts) note(r *http.Request) {
	size := r.ContentLength
	var from, to int64
	if n, _ := fmt.Sscanf(r.Header.Get("X-Amz-Copy-Source-Range"), "bytes=%d-%d", &from, &to); n == 2 {
		size = to - from + 1
	}
	q := r.URL.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes[part(q.Get("uploadId"), q.Get("partNumber"))] = size
}

// even looks at the parts that a request makes an object of. Its body is read, and
// there again.
func (p *parts) even(r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return true // the store says so
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var listed struct {
		Part []struct {
			PartNumber string
		}
	}
	if err := xml.NewDecoder(strings.NewReader(string(body))).Decode(&listed); err != nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	upload := r.URL.Query().Get("uploadId")
	for i, l := range listed.Part {
		first, size := p.sizes[part(upload, listed.Part[0].PartNumber)], p.sizes[part(upload, l.PartNumber)]
		if size > first || i < len(listed.Part)-1 && size != first {
			return false
		}
	}
	return true
}
