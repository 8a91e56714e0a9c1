package webhook

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func pushed(id string) audit.Event {
	return audit.Event{Time: noon, ID: id, Action: audit.Push, Result: audit.OK, User: "ci", Address: "192.0.2.7", Kind: "manifest",
		Repository: "team/app", Tag: "v1", Digest: "sha256:" + strings.Repeat("a", 64), Method: "PUT", Status: 201, Agent: "crane"}
}

var asked = Request{Base: "https://r.example/v2", Host: "r.example", MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 7, Source: "r"}

func line(t *testing.T, e audit.Event) []byte {
	t.Helper()
	all := From(e, asked)
	if len(all) != 1 {
		t.Fatalf("%d events", len(all))
	}
	data, err := json.Marshal(all[0])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type request struct {
	header http.Header
	body   []byte
}

// receiver is an endpoint; answer says what it answers to the nth request.
func receiver(t *testing.T, answer func(n int, w http.ResponseWriter)) (*httptest.Server, func() []request) {
	t.Helper()
	var mu sync.Mutex
	var got []request
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got = append(got, request{r.Header.Clone(), body})
		n := len(got)
		mu.Unlock()
		if answer != nil {
			answer(n, w)
		}
	}))
	t.Cleanup(s.Close)
	return s, func() []request { mu.Lock(); defer mu.Unlock(); return append([]request(nil), got...) }
}

func authority(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func client(s *httptest.Server, f Format) *Client {
	url := s.URL + "/hook?key=hidden"
	return &Client{URL: url, Secret: "s3cret", Authorization: "Bearer a", Format: f, HTTP: NewHTTP(url, authority(s)), Now: func() time.Time { return noon }}
}

func TestBothFormats(t *testing.T) {
	for _, f := range []Format{Distribution, CloudEvents} {
		s, got := receiver(t, func(int, http.ResponseWriter) {})
		if err := client(s, f).Send(t.Context(), [][]byte{line(t, pushed("id-1"))}); err != nil {
			t.Fatal(err)
		}
		r := got()[0]
		if want := Sign("s3cret", "1777896000", r.body); r.header.Get(SignatureHeader) != want || r.header.Get(TimestampHeader) != "1777896000" {
			t.Errorf("%s: signed %v, want %s", f, r.header, want)
		}
		text := fmt.Sprintf("Content-Type: %s\nAuthorization: %s\n\n%s\n", r.header.Get("Content-Type"), r.header.Get("Authorization"), r.body)
		path := "testdata/" + string(f) + ".golden"
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || string(want) != text {
			t.Errorf("%s: %v; got\n%s", f, err, text)
		}
	}
}

// The vector is made by: printf '1777896000.{}' | openssl dgst -sha256 -hmac s3cret
func TestSignature(t *testing.T) {
	if got := Sign("s3cret", "1777896000", []byte("{}")); got != "v1=cbeb239d09a8fbcb8c893b139deb4ad0b9adc0f718f85507cc834d17289a4aa2" {
		t.Error(got)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	elsewhere, reached := receiver(t, func(int, http.ResponseWriter) {})
	s, _ := receiver(t, func(_ int, w http.ResponseWriter) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	err := client(s, Distribution).Send(t.Context(), [][]byte{line(t, pushed("a"))})
	if err == nil || !strings.Contains(err.Error(), "answers 307 Temporary Redirect, which is not followed") || len(reached()) > 0 {
		t.Errorf("a redirect: %v, %d requests", err, len(reached()))
	}
	release := make(chan struct{})
	hanging, _ := receiver(t, func(int, http.ResponseWriter) { <-release })
	defer close(release)
	c := client(hanging, Distribution)
	c.HTTP.Timeout = 50 * time.Millisecond
	if err = c.Send(t.Context(), [][]byte{line(t, pushed("a"))}); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("a hanging endpoint: %v", err)
	}
}

func TestFilter(t *testing.T) {
	f := NewFilter([]string{"team/*"}, []string{"push"})
	for _, row := range []struct {
		action     audit.Action
		repository string
		want       bool
	}{{audit.Push, "team/app", true}, {audit.Pull, "team/app", false}, {audit.Push, "other/app", false}} {
		if got := f.Wants(row.action, row.repository); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
	if !NewFilter(nil, nil).Wants(audit.Delete, "any") {
		t.Error("an endpoint without a filter does not get all")
	}
	denied := pushed("a")
	denied.Result = audit.Denied
	if len(From(denied, Request{})) > 0 {
		t.Error("a refused push is told")
	}
}

// refuse answers 422 to what names id, and counts it as not received.
func refuse(h http.Handler, id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.Contains(string(body), id) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}
