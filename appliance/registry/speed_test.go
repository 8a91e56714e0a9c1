package registry

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	sys "golang.org/x/sys/unix"
)

// BenchmarkManifest says how much processor time of the registry one manifest takes, by
// tag, with TLS and a login, from sixteen clients.
func BenchmarkManifest(b *testing.B) {
	m := newMachine(b)
	m.config(b, "error")
	m.start(b)
	m.pushBlob(b, "app", v1.DescriptorEmptyJSON.Data)
	m.putManifest(b, "app", "v1", v1.MediaTypeImageManifest, artifact("a/b", nil, "x"))
	const clients = 16
	var left atomic.Int64
	left.Store(int64(b.N))
	before := m.processor(b)
	b.ResetTimer()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			transport := m.transport()
			defer transport.CloseIdleConnections()
			for left.Add(-1) >= 0 {
				r, err := http.NewRequest(http.MethodGet, "https://"+m.host()+"/v2/app/manifests/v1", nil)
				if err != nil {
					b.Error(err)
					return
				}
				r.SetBasicAuth("alice", password)
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
