package page

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// maxReason keeps the status line well below what clients read.
const maxReason = 512

// writeReason answers with the reason in the status line: docker prints only that line
// of a 503, and not the body. It needs HTTP/1, which docker uses, and a request without a
// body. It returns false if it did not answer.
func writeReason(w http.ResponseWriter, r *http.Request, reason string, body []byte) bool {
	if r.ProtoMajor != 1 || r.ContentLength != 0 {
		return false
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	defer conn.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 503 Service Unavailable: %s\r\n", phrase(reason))
	h := w.Header().Clone()
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	_ = h.Write(&b) // a buffer takes everything
	b.WriteString("\r\n")
	if r.Method != http.MethodHead {
		b.Write(body)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Write(b.Bytes()) // the client may be gone
	return true
}

// phrase makes text fit for a status line (RFC 9112 4): visible ASCII.
func phrase(text string) string {
	if len(text) > maxReason {
		text = text[:maxReason-1] + "~"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
