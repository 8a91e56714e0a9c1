package bucket_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

// answering opens a bucket of a server that answers as a test says: what the real
// stores do not do.
func answering(t *testing.T, h http.HandlerFunc) *bucket.Bucket {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return open(t, map[string]any{"bucket": "b", "regionendpoint": server.URL, "accesskey": "a", "secretkey": "s"})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// A store that does not know CRC32C gets an MD5, from its first refusal on.
func TestStoresWithoutCRC32C(t *testing.T) {
	for name, refusal := range map[string]func(http.ResponseWriter){
		"not implemented": func(w http.ResponseWriter) {
			refuse(w, 501, "NotImplemented", "A header you provided implies functionality that is not implemented")
		},
		"invalid": func(w http.ResponseWriter) {
			refuse(w, 400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32c")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			refused, taken := 0, 0
			b := answering(t, func(w http.ResponseWriter, r *http.Request) {
				data, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if r.Header.Get("X-Amz-Checksum-Crc32c") != "" {
					refused++
					refusal(w)
					return
				}
				sum := md5.Sum(data)
				if got := r.Header.Get("Content-Md5"); got != base64.StdEncoding.EncodeToString(sum[:]) {
					t.Errorf("the MD5 of %d bytes is %q", len(data), got)
				}
				taken++
				w.Header().Set("ETag", `"x"`)
			})
			for range 2 {
				if _, err := b.Put(t.Context(), "x", []byte("data"), bucket.Condition{}); err != nil {
					t.Fatal(err)
				}
				if _, err := b.UploadPart(t.Context(), bucket.Multipart{Key: "x", ID: "id"}, 1, bytes.Repeat([]byte("data"), 100_000)); err != nil {
					t.Fatal(err)
				}
			}
			if refused != 1 || taken != 4 {
				t.Errorf("%d refused, %d taken", refused, taken)
			}
		})
	}
}

// A machine whose clock is wrong by an hour signs with the store's time once the
// store has said what that is.
func TestClockOfTheStore(t *testing.T) {
	store := func() time.Time { return time.Now().Add(time.Hour) }
	refused := 0
	b := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", store().UTC().Format(http.TimeFormat))
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Error(err)
		}
		if store().Sub(at).Abs() > 15*time.Minute {
			refused++
			refuse(w, 403, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large.")
			return
		}
		w.Header().Set("ETag", `"x"`)
	})
	for range 3 {
		if _, err := b.Put(t.Context(), "x", []byte("data"), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	if refused != 1 {
		t.Errorf("%d requests were refused", refused)
	}
	if at, err := b.Time(t.Context()); err != nil || at.Sub(store()).Abs() > time.Minute {
		t.Errorf("the store's time is %v, %v", at, err)
	}
}

// An error that comes after the headers of success is one: S3 has sent them to
// keep the connection alive.
func TestErrorsInSuccesses(t *testing.T) {
	calls := map[string]int{}
	b := answering(t, func(w http.ResponseWriter, r *http.Request) {
		kind := r.Method + r.URL.Query().Get("uploadId")
		calls[kind]++
		switch {
		case calls[kind] == 1:
			refuse(w, 200, "InternalError", "We encountered an internal error. Please try again.")
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><ETag>"done"</ETag></CompleteMultipartUploadResult>`)
		default:
			_, _ = io.WriteString(w, `<CopyObjectResult><ETag>"done"</ETag></CopyObjectResult>`)
		}
	})
	if etag, err := b.CompleteMultipart(t.Context(), bucket.Multipart{Key: "x", ID: "id"}, []bucket.Part{{Number: 1, ETag: "e"}}); err != nil || etag != `"done"` {
		t.Errorf("%s, %v", etag, err)
	}
	if err := b.CopySized(t.Context(), "x", "y", 10); err != nil {
		t.Error(err)
	}
	for kind, n := range calls {
		if n != 2 {
			t.Errorf("%s came %d times", kind, n)
		}
	}
}

func open(t *testing.T, params map[string]any) *bucket.Bucket {
	t.Helper()
	b, err := bucket.OpenDefault(params)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
