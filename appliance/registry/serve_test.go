package registry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
)

func TestPushAndPull(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(200_000, 3)
	check(t, err)
	check(t, m.push(image, "team/app:1"))
	got, err := m.pull("team/app:1")
	check(t, err)
	check(t, validate.Image(got))
	want, err := image.Digest()
	check(t, err)
	if have, err := got.Digest(); err != nil || have != want {
		t.Errorf("pulled %v, %v, pushed %v", have, err, want)
	}
	for who, options := range map[string][]remote.Option{
		"wrong password": m.options("alice", "wrong"),
		"unknown user":   m.options("mallory", password),
		"anonymous":      {remote.WithTransport(m.transport())},
	} {
		ref, err := name.ParseReference(m.host() + "/team/app:1")
		check(t, err)
		if _, err := remote.Image(ref, options...); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") && !strings.Contains(err.Error(), "401") {
			t.Errorf("%s: pull: %v", who, err)
		}
		if err := remote.Write(ref, image, options...); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") && !strings.Contains(err.Error(), "401") {
			t.Errorf("%s: push: %v", who, err)
		}
	}
	if !strings.Contains(m.log.String(), "wrong user or password") {
		t.Error("a refused login is not in the log")
	}
	for _, secret := range []string{password, "a-secret", "Basic "} {
		if strings.Contains(m.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

// A blob straight from its file is answered as upstream answers it.
func TestBlobs(t *testing.T) {
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	d := digest.FromBytes(data)
	m.begin(t, "app", data[:1000]).finish(t, data[1000:], d.String())
	path := "/v2/app/blobs/" + d.String()
	a := m.get(t, path)
	for key, want := range map[string]string{
		"Content-Type": "application/octet-stream", "Content-Length": "100000",
		"Docker-Content-Digest": d.String(), "Etag": `"` + d.String() + `"`, "Cache-Control": "max-age=31536000",
		"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.Header.Values(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q once", key, got, want)
		}
	}
	if a.body != string(data) {
		t.Error("the blob came back different")
	}
	if a := m.get(t, path, "Range", "bytes=10-19"); a.StatusCode != http.StatusPartialContent || a.body != "0123456789" {
		t.Errorf("a range: %s %q", a.Status, a.body)
	}
	if a := m.get(t, path, "If-None-Match", `"`+d.String()+`"`); a.StatusCode != http.StatusNotModified {
		t.Errorf("a blob that the client has: %s", a.Status)
	}
	if a := m.get(t, "/v2/other/blobs/"+d.String()); a.StatusCode != http.StatusNotFound {
		t.Errorf("a blob of another repository: %s", a.Status)
	}
	file := m.path("store/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data")
	check(t, os.Truncate(file, 5))
	if a := m.get(t, path); a.StatusCode != http.StatusNotFound {
		t.Errorf("a damaged blob: %s", a.Status)
	}
	check(t, os.Remove(file))
	if a := m.get(t, path); a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "BLOB_UNKNOWN") {
		t.Errorf("a blob that is gone: %s %s", a.Status, a.body)
	}
}

// Clients that read slowly cost little memory each, not 4 MiB.
func TestSlowPullsAreSmall(t *testing.T) {
	m := newMachine(t)
	m.extra = "  http2: {disabled: true}\n"
	m.config(t, "warn")
	m.start(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	d := digest.FromBytes(data)
	m.begin(t, "app", data[:1]).finish(t, data[1:], d.String())
	const clients = 64
	for range clients {
		r, err := http.NewRequest(http.MethodGet, "https://"+m.host()+"/v2/app/blobs/"+d.String(), nil)
		check(t, err)
		r.SetBasicAuth("alice", password)
		w, err := m.transport().RoundTrip(r)
		check(t, err)
		defer w.Body.Close()
		_, err = io.ReadFull(w.Body, make([]byte, 10))
		check(t, err)
	}
	if n := m.metric(t, "redoubt_http_in_flight"); n != clients {
		t.Fatalf("%v pulls are in flight", n)
	}
	if heap := m.metric(t, "go_memstats_heap_inuse_bytes"); heap > clients<<20 {
		t.Errorf("%d pulls hold %.0f MiB", clients, heap/(1<<20))
	}
}

// load pulls and pushes until stop is called, which returns how many requests
// failed and how many there were.
func (m *machine) load(t *testing.T, clients int) (stop func() (failed, all int64)) {
	t.Helper()
	image, err := random.Image(50_000, 2)
	check(t, err)
	check(t, m.push(image, "load:0"))
	var failed, all atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	for i := range clients {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				err := m.work(i, n)
				all.Add(1)
				if err != nil {
					failed.Add(1)
					t.Logf("client %d: %v", i, err)
				}
			}
		})
	}
	return func() (int64, int64) {
		close(done)
		wg.Wait()
		return failed.Load(), all.Load()
	}
}

func (m *machine) work(client, n int) error {
	if client%2 == 0 {
		image, err := random.Image(10_000, 1)
		if err != nil {
			return err
		}
		return m.push(image, fmt.Sprintf("load-%d:%d", client, n))
	}
	image, err := m.pull("load:0")
	if err != nil {
		return err
	}
	return validate.Image(image)
}

// Certificates change under load: new connections get the new one, none fails.
func TestCertificateSwaps(t *testing.T) {
	m := newMachine(t)
	m.config(t, "warn")
	m.start(t)
	stop := m.load(t, 2)
	for i := range 20 {
		m.certificate(t, time.Duration(2000+i)*time.Hour)
		m.reload(t)
		a := m.get(t, "/v2/")
		end := a.TLS.PeerCertificates[0].NotAfter
		if want := time.Now().Add(time.Duration(2000+i) * time.Hour); end.Sub(want).Abs() > time.Minute {
			t.Errorf("after swap %d the certificate ends at %v", i, end)
		}
	}
	if failed, all := stop(); failed > 0 || all < 4 {
		t.Errorf("%d of %d operations failed", failed, all)
	}
	good := m.get(t, "/v2/").TLS.PeerCertificates[0]
	check(t, os.WriteFile(m.path("certificates/current/tls.key"), []byte("broken"), 0o600))
	if status := m.reload(t); !strings.Contains(status, "STATUS=reload refused") || !strings.Contains(status, "tls.key") {
		t.Errorf("a broken pair: %s", status)
	}
	if now := m.get(t, "/v2/").TLS.PeerCertificates[0]; !now.Equal(good) {
		t.Error("a broken pair took the old one's place")
	}
	if end := m.metric(t, "redoubt_certificate_not_after_seconds"); end != float64(good.NotAfter.Unix()) {
		t.Errorf("the metric says %v", end)
	}
}

// SIGTERM: what is in flight ends as it should, and a client that comes in
// the meantime waits in the held socket for the next process.
func TestDrain(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	data := bytes.Repeat([]byte("layer"), 100_000)
	u := m.begin(t, "slow", data[:1000])
	old := m.exited
	m.signal(t, syscall.SIGTERM)
	if stopping := m.await(t, "STOPPING=1"); !strings.Contains(stopping, "EXTEND_TIMEOUT_USEC=25000000") {
		t.Errorf("STOPPING=1 without more time: %q", stopping)
	}
	late := make(chan error, 1)
	go func() {
		a, err := m.do(http.MethodGet, "https://"+m.host()+"/v2/", nil)
		if err == nil && a.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s", a.Status)
		}
		late <- err
	}()
	_, err := u.pipe.Write(data[1000:])
	check(t, err)
	u.pipe.Close()
	check(t, <-u.done)
	check(t, <-old)
	m.start(t)
	check(t, <-late)
	d := digest.FromBytes(data).String()
	a, err := m.do(http.MethodPut, u.location+"&digest="+d, nil)
	check(t, err)
	if a.StatusCode != http.StatusCreated {
		t.Errorf("the upload cannot be closed after the restart: %s %s", a.Status, a.body)
	}
}

// A killed process: no connection is refused, since the sockets are held.
func TestKill(t *testing.T) {
	m := newMachine(t)
	m.config(t, "warn")
	m.start(t)
	var refused, all atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				_, err := m.do(http.MethodGet, "https://"+m.host()+"/v2/", nil)
				all.Add(1)
				if err != nil && strings.Contains(err.Error(), "refused") {
					refused.Add(1)
				}
			}
		})
	}
	for range 5 {
		before := all.Load()
		until(t, "some requests", func() bool { return all.Load() > before+20 })
		m.signal(t, syscall.SIGKILL)
		<-m.exited
		m.start(t)
	}
	close(done)
	wg.Wait()
	if refused.Load() > 0 || all.Load() < 100 {
		t.Errorf("%d of %d connections were refused", refused.Load(), all.Load())
	}
}

// The access log names who has logged in, and nobody who only says a name.
func TestAccessLogNamesWhoLoggedIn(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	for _, url := range []string{"https://" + m.host() + "/", "https://" + m.host() + "/v2/Upper/tags/list", "http://" + m.http.Addr().String() + "/"} {
		_, err := m.do(http.MethodGet, url, nil, "Authorization", "Basic "+basic("mallory", "guessed"), "User-Agent", strings.Repeat("x", 5000))
		check(t, err)
	}
	m.get(t, "/v2/", "Authorization", "Basic "+basic("alice", password))
	until(t, "alice in the log", func() bool { return strings.Contains(m.log.String(), "alice") })
	text := m.log.String()
	if strings.Contains(text, "mallory") || strings.Contains(text, strings.Repeat("x", 300)) {
		t.Errorf("the log has who did not log in, or too much of a value: %.2000s", text)
	}
}

func basic(user, pass string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + pass))
}
