package registry

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/storage/pulls"
)

// A pull by tag and one by digest are kept when the registry ends, and what was asked for
// in vain is not.
func TestPullsAreKept(t *testing.T) {
	t.Parallel()
	m, manifests := house(t, "", "team/app", "team/quiet")
	dgst := manifests["team/app"].String()
	before := time.Now().Add(-time.Second)
	for _, path := range []string{"team/app/manifests/latest", "team/app/manifests/" + dgst} {
		if a := m.get(t, "/v2/"+path); a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, a.Status)
		}
	}
	m.get(t, "/v2/team/app/manifests/none")
	if _, err := os.Stat(m.path("store") + pulls.Root); err == nil {
		t.Error("each pull is a write")
	}
	m.signal(t, syscall.SIGTERM)
	<-m.exited
	known, err := pulls.Read(t.Context(), filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100}), time.Now())
	check(t, err)
	for name, want := range map[string]bool{"team/app:latest": true, "team/app@" + dgst: true, "team/app:none": false,
		"team/quiet:latest": false, "team/quiet@" + manifests["team/quiet"].String(): false} {
		if got := known.Last(name); got.After(before) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
