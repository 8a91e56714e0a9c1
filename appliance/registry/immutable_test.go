package registry

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const written = `, immutable: [{repositories: ["release/*"], tags: ["v*"], except: ["*-rc*"]}]`

// An immutable tag is written once: another image under it is refused before anything is
// stored, the same one is taken, and only an administrator deletes it.
func TestImmutableTags(t *testing.T) {
	t.Parallel()
	m, manifests := house(t, houseRules+written, "release/app")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	put := func(reference, note string) (answer, digest.Digest) {
		return m.putManifest(t, "release/app", reference, v1.MediaTypeImageManifest, artifact("text/plain", nil, note))
	}
	one, first := put("v1", "one")
	if one.StatusCode != http.StatusCreated {
		t.Fatalf("the first push: %s %s", one.Status, one.body)
	}
	two, second := put("v1", "two")
	if two.StatusCode != http.StatusConflict || code(two) != "TAG_INVALID" || !strings.Contains(two.body, "the tag v1 is immutable and is "+first.String()) {
		t.Errorf("another image: %s %s", two.Status, two.body)
	}
	if a := m.get(t, "/v2/release/app/manifests/"+second.String()); a.StatusCode != http.StatusNotFound {
		t.Errorf("what was refused is there: %s", a.Status)
	}
	if a, _ := put(second.String()+"?tag=free&tag=v1", "two"); a.StatusCode != http.StatusConflict {
		t.Errorf("by digest, with the tag: %s %s", a.Status, a.body)
	}
	for _, reference := range []string{"v1", first.String() + "?tag=v1", "v1", "latest", "v2"} {
		if a, _ := put(reference, "one"); a.StatusCode != http.StatusCreated {
			t.Errorf("the same image as %s: %s %s", reference, a.Status, a.body)
		}
	}
	for _, note := range []string{"a", "b"} {
		for _, tag := range []string{"v1-rc1", "latest"} {
			if a, _ := put(tag, note); a.StatusCode != http.StatusCreated {
				t.Errorf("%s is no immutable tag: %s", tag, a.Status)
			}
		}
	}
	if a, d := m.putManifest(t, "release/app", "v1", v1.MediaTypeImageManifest, artifact("text/plain", nil, "one")); a.StatusCode != http.StatusCreated || d != first {
		t.Errorf("again: %s", a.Status)
	}
	// carol may delete in release/*, but is no administrator.
	for _, reference := range []string{"v1", first.String()} {
		if a := m.by(t, transport, "carol", http.MethodDelete, "/v2/release/app/manifests/"+reference, ""); a.StatusCode != http.StatusForbidden || code(a) != "DENIED" {
			t.Errorf("carol deletes %s: %s %s", reference, a.Status, a.body)
		}
	}
	if a := m.by(t, transport, "carol", http.MethodDelete, "/v2/release/app/manifests/"+manifests["release/app"].String(), ""); a.StatusCode != http.StatusAccepted {
		t.Errorf("carol deletes what has no such tag: %s %s", a.Status, a.body)
	}
	if a := m.by(t, transport, "alice", http.MethodDelete, "/v2/release/app/manifests/v1", ""); a.StatusCode != http.StatusAccepted {
		t.Errorf("the administrator: %s %s", a.Status, a.body)
	}
	if a, _ := put("v1", "two"); a.StatusCode != http.StatusCreated {
		t.Errorf("after that: %s %s", a.Status, a.body)
	}
}

// Of many clients that push different images to a new tag at the same time one wins, and
// the tag is what it was told.
func TestRaceToAnImmutableTag(t *testing.T) {
	t.Parallel()
	m, _ := house(t, written, "release/app")
	race(t, []*machine{m}, 5)
}

// race lets twelve clients at once push to each of some new tags, by turns at machines.
func race(t *testing.T, machines []*machine, tags int) {
	t.Helper()
	for i := range tags {
		tag := fmt.Sprint("v", i)
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := map[digest.Digest]bool{}
		for n := range 12 {
			wg.Go(func() {
				m := machines[n%len(machines)]
				a, d := m.putManifest(t, "release/app", tag, v1.MediaTypeImageManifest, artifact("text/plain", nil, fmt.Sprint(i, n/2)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case a.StatusCode == http.StatusCreated:
					won[d] = true
				case a.StatusCode != http.StatusConflict:
					t.Errorf("%s: %s %s", tag, a.Status, a.body)
				}
			})
		}
		wg.Wait()
		for _, m := range machines {
			got := m.get(t, "/v2/release/app/manifests/"+tag).Header.Get("Docker-Content-Digest")
			if len(won) != 1 || !won[digest.Digest(got)] {
				t.Errorf("%s: %v were told that they won, and it is %s", tag, won, got)
			}
		}
	}
}
