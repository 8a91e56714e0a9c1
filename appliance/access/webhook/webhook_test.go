package webhook

import (
	"context"
	"crypto/tls"
	"encoding/json"
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
	"github.com/redoubt-registry/redoubt/appliance/spool"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func pushed(id string) audit.Event {
	return audit.Event{Time: noon, ID: id, Action: audit.Push, Result: audit.OK, User: "ci", Address: "192.0.2.7", Kind: "manifest",
		Repository: "team/app", Tag: "v1", Digest: "sha256:" + strings.Repeat("a", 64), Method: "PUT", Status: 201, Agent: "crane"}
}

func line(t *testing.T, e audit.Event) []byte {
	t.Helper()
	n, ok := From(e, Request{Base: "https://r.example", Host: "r.example", MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 7, Source: "r:443"})
	if !ok {
		t.Fatal("no event")
	}
	data, err := json.Marshal(n)
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
		answer(n, w)
	}))
	t.Cleanup(s.Close)
	return s, func() []request { mu.Lock(); defer mu.Unlock(); return append([]request(nil), got...) }
}

func client(s *httptest.Server, f Format) *Client {
	trust := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}}
	return &Client{URL: s.URL + "/hook?key=hidden", Secret: "s3cret", Headers: map[string]string{"X-Team": "a"}, Format: f,
		HTTP: NewHTTP(transport, 30*time.Second), Now: func() time.Time { return noon }}
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
		text := fmt.Sprintf("Content-Type: %s\nX-Team: %s\n\n%s\n", r.header.Get("Content-Type"), r.header.Get("X-Team"), r.body)
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

func TestEndpointDownThenUp(t *testing.T) {
	s, got := receiver(t, func(n int, w http.ResponseWriter) {
		if n <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	kept, err := spool.Open(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	for i := range 5 {
		if err := kept.Append(append(line(t, pushed(fmt.Sprint("id-", i))), '\n')); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	courier := &spool.Courier{Spool: kept, Most: CloudEvents.Most(), Send: client(s, CloudEvents).Send, Least: time.Millisecond, Longest: 10 * time.Millisecond}
	go func() { defer close(done); courier.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); len(got()) < 7 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-done
	var ids []string
	for _, r := range got() {
		var e cloudEvent
		if err := json.Unmarshal(r.body, &e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	if got := strings.Join(ids, " "); got != "id-0 id-0 id-0 id-1 id-2 id-3 id-4" {
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
	if err == nil || !strings.Contains(err.Error(), "answers 307") || len(reached()) > 0 {
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
	if _, ok := From(denied, Request{}); ok {
		t.Error("a refused push is told")
	}
}
