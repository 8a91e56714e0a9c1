//go:build faults

package faults

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// section is registry.yml's of a bucket.
func section(bucket, region, endpoint string) string {
	return fmt.Sprintf("  s3: {bucket: %s, region: %s, regionendpoint: %q, forcepathstyle: true, rootdirectory: images}\n", bucket, region, endpoint)
}

// kinds are the stores that each fault is tried on.
var kinds = map[string]func(stores.Owner, ...stores.Options) *stores.Store{
	"MinIO": stores.MinIO, "versitygw": stores.Versity,
}

// each runs a test on a store of its own of each kind, at once.
func each(t *testing.T, o stores.Options, test func(t *testing.T, s *stores.Store, storage string, k keys)) {
	t.Helper()
	t.Parallel()
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, o)
			test(t, s, section(s.NewBucket(t), s.Region, s.Endpoint), keys{s.AccessKey, s.SecretKey})
		})
	}
}

// Long enough that what the registry tries again by itself does not hide it.
const long = 35 * time.Second

func TestKilled(t *testing.T) {
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store, storage string, k keys) {
		trial{storage: storage, before: k, after: k, begin: func(*server) { s.Kill() }, wait: long, end: func(*server) { s.Start() }}.run(t)
	})
}

func TestFrozen(t *testing.T) {
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store, storage string, k keys) {
		trial{storage: storage, before: k, after: k, begin: func(*server) { s.Freeze() }, wait: long + 15*time.Second, end: func(*server) { s.Thaw() }}.run(t)
	})
}

func TestFull(t *testing.T) {
	each(t, stores.Options{Size: 4 << 30}, func(t *testing.T, s *stores.Store, storage string, k keys) {
		var filler string
		begin := func(*server) { filler = stores.Fill(t, s.Data, 64<<10) }
		trial{storage: storage, before: k, after: k, begin: begin, wait: long, end: func(*server) {
			if err := os.Remove(filler); err != nil {
				t.Error(err)
			}
		}}.run(t)
	})
}

// through runs a test on a store behind a proxy.
func through(t *testing.T, faults ...proxy.Fault) {
	t.Helper()
	t.Parallel()
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			p := proxy.HTTP(t, s.Endpoint)
			k := keys{s.AccessKey, s.SecretKey}
			trial{
				storage: section(s.NewBucket(t), s.Region, p.URL), before: k, after: k, quiet: true,
				begin: func(*server) { p.Set(faults...) }, wait: long, end: func(*server) { p.Set() },
			}.run(t)
			if p.Hit() == 0 {
				t.Error("no request of the registry met the fault")
			}
		})
	}
}

func TestSlow(t *testing.T) { through(t, proxy.Fault{Delay: 2 * time.Second}) }

func TestHalf500(t *testing.T) {
	through(t, proxy.Fault{Share: 0.5, Status: http.StatusInternalServerError})
}

func TestHalf503(t *testing.T) {
	through(t, proxy.Fault{Share: 0.5, Status: http.StatusServiceUnavailable, Empty: true})
}

// TestLostAnswers: the store did what it was asked, and nobody hears of it.
func TestLostAnswers(t *testing.T) {
	through(t, proxy.Fault{Share: 0.2, Lost: true, Match: func(r *http.Request) bool { return r.Method != http.MethodGet }})
}

// TestRotated: the keys are taken away in the middle of pushes, and the registry is
// given new ones some seconds later.
func TestRotated(t *testing.T) {
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store, storage string, _ keys) {
		old, next := s.NewUser(t), s.NewUser(t)
		now := keys{next.AccessKey, next.SecretKey}
		trial{
			storage: storage, before: keys{old.AccessKey, old.SecretKey}, after: now,
			begin: func(*server) { s.RemoveUser(t, old) }, wait: 15 * time.Second,
			end: func(r *server) {
				r.authorize(t, now)
				r.restart(t)
			},
		}.run(t)
	})
}
