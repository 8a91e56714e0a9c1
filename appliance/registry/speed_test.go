package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	sys "golang.org/x/sys/unix"
)

// BenchmarkManifest says how much processor time of the registry one manifest takes, by
// tag, with TLS, from sixteen clients: without a login, with a password, and with a token,
// which must not take 10 µs more than none.
func BenchmarkManifest(b *testing.B) {
	for name, http2 := range map[string]bool{"HTTP1": false, "HTTP2": true} {
		b.Run(name, func(b *testing.B) { manifests(b, http2) })
	}
}

func manifests(b *testing.B, http2 bool) {
	m := newMachine(b)
	m.authMore = ", anonymous: pull"
	m.config(b, "error")
	m.start(b)
	m.pushBlob(b, "app", v1.DescriptorEmptyJSON.Data)
	m.putManifest(b, "app", "v1", v1.MediaTypeImageManifest, artifact("a/b", nil, "x"))
	var body tokenAnswer
	a, err := m.do(http.MethodGet, "https://"+m.host()+"/v2/_token?scope=repository:app:pull", nil)
	check(b, err)
	check(b, json.Unmarshal([]byte(a.body), &body))
	for name, login := range map[string]string{"stranger": "", "password": "Basic " + basic("alice", password), "token": "Bearer " + body.Token} {
		b.Run(name, func(b *testing.B) { m.benchmarkManifest(b, login, http2) })
	}
}

// benchmarkManifest gets a manifest with what a client sends as Authorization.
func (m *machine) benchmarkManifest(b *testing.B, login string, http2 bool) {
	const clients = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	before := m.processor(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			transport := m.transport()
			transport.ForceAttemptHTTP2 = http2
			defer transport.CloseIdleConnections()
			for left.Add(-1) >= 0 {
				r, err := http.NewRequest(http.MethodGet, "https://"+m.host()+"/v2/app/manifests/v1", nil)
				if err != nil {
					b.Error(err)
					return
				}
				if login != "" {
					r.Header.Set("Authorization", login)
				}
				w, err := transport.RoundTrip(r)
				if err != nil || w.StatusCode != http.StatusOK {
					b.Error(err, w)
					return
				}
				_, _ = io.Copy(io.Discard, w.Body)
				w.Body.Close()
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric((m.processor(b)-before)*1e6/float64(b.N), "processor-µs/op")
}

// BenchmarkPush says how much processor time of the registry a layer takes, with TLS, as
// docker pushes it: with a PATCH.
func BenchmarkPush(b *testing.B) {
	m, client := layerMachine(b)
	before := m.processor(b)
	b.ResetTimer()
	for i := range b.N {
		m.pushLayer(b, client, layerOf(i))
	}
	b.StopTimer()
	b.ReportMetric((m.processor(b)-before)/float64(b.N)*(1e9/layerBytes), "processor-s/GB")
}

// BenchmarkPull says the same of a layer that is pulled.
func BenchmarkPull(b *testing.B) {
	m, client := layerMachine(b)
	dgst := m.pushLayer(b, client, layerOf(0))
	before := m.processor(b)
	b.ResetTimer()
	for range b.N {
		m.layer(b, client, http.MethodGet, "https://"+m.host()+"/v2/app/blobs/"+dgst, nil, http.StatusOK)
	}
	b.StopTimer()
	b.ReportMetric((m.processor(b)-before)/float64(b.N)*(1e9/layerBytes), "processor-s/GB")
}

// layerBytes is the size of the layers of the benchmarks.
const layerBytes = 100e6

func layerMachine(b *testing.B) (*machine, http.RoundTripper) {
	m := newMachine(b)
	m.config(b, "error")
	m.start(b)
	client := m.transport()
	client.ForceAttemptHTTP2 = false
	b.Cleanup(client.CloseIdleConnections)
	return m, client
}

// layerOf is a layer that no other number has.
func layerOf(n int) []byte {
	data := make([]byte, layerBytes)
	copy(data, fmt.Append(nil, n))
	return data
}

func (m *machine) pushLayer(b *testing.B, client http.RoundTripper, data []byte) (dgst string) {
	b.Helper()
	dgst = digest.FromBytes(data).String()
	root := "https://" + m.host()
	next := m.layer(b, client, http.MethodPost, root+"/v2/app/blobs/uploads/", nil, http.StatusAccepted)
	next = m.layer(b, client, http.MethodPatch, root+next, bytes.NewReader(data), http.StatusAccepted)
	m.layer(b, client, http.MethodPut, root+next+"&digest="+dgst, nil, http.StatusCreated)
	return dgst
}

// layer asks for a part of a push or for a layer, and answers where it goes on.
func (m *machine) layer(b *testing.B, client http.RoundTripper, method, url string, body io.Reader, status int) (location string) {
	b.Helper()
	r, err := http.NewRequest(method, url, body)
	check(b, err)
	r.SetBasicAuth("alice", password)
	w, err := client.RoundTrip(r)
	check(b, err)
	defer w.Body.Close()
	_, err = io.Copy(io.Discard, w.Body)
	check(b, err)
	if w.StatusCode != status {
		b.Fatalf("%s %s: %s", method, url, w.Status)
	}
	return w.Header.Get("Location")
}

// processor is the time in seconds that the registry has used of it.
func (m *machine) processor(t testing.TB) float64 {
	t.Helper()
	clock, err := clockOf(m.process.Process.Pid)
	check(t, err)
	return clock
}

// clockOf reads the clock of a process, clock_getcpuclockid(3).
func clockOf(pid int) (float64, error) {
	var at sys.Timespec
	if err := sys.ClockGettime(int32(^pid<<3|2), &at); err != nil {
		return 0, fmt.Errorf("cannot read the clock of a process: %w", err)
	}
	return float64(at.Sec) + float64(at.Nsec)/1e9, nil
}
