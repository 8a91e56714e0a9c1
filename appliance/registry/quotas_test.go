package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const limited = `, quotas: [{repositories: ["team/**"], size: %d}]`

// usage is what the count of the first quota says, when it was counted.
func (m *machine) usage(t *testing.T) int64 {
	t.Helper()
	rules, err := quota.New([]quota.Rule{{Repositories: []string{"team/**"}, Size: 1}})
	check(t, err)
	l := quota.Ledger{Store: sharedstate.Beside(m.path("store")), Rules: rules, Now: time.Now}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		list, err := l.Usage(t.Context())
		check(t, err)
		if list[0].Counted {
			return list[0].Used
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing counts what is there")
		}
	}
}

func (m *machine) wantUsage(t *testing.T, after string, want int64) {
	t.Helper()
	if got := m.usage(t); got != want {
		t.Errorf("after %s %d bytes are used, want %d", after, got, want)
	}
}

// limits starts a machine whose team/** may take some bytes.
func limits(t *testing.T, size int64) *machine {
	t.Helper()
	m := newMachine(t)
	m.authMore = fmt.Sprintf(limited, size)
	m.config(t, "info")
	m.start(t)
	m.wantUsage(t, "the start", 0)
	return m
}

// counted is a body that says how much of it was read, and keeps its size to itself.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func denied(t *testing.T, what string, a answer, figures ...string) {
	t.Helper()
	if a.StatusCode != http.StatusForbidden || code(a) != "DENIED" {
		t.Errorf("%s: %s %s", what, a.Status, a.body)
	}
	for _, text := range append(figures, "the quota of team/** is ", " are used, and the push needs ") {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s: it is not told %q: %s", what, text, a.body)
		}
	}
}

// A push that does not fit is refused, at its beginning where its size is known, and gives
// back what it took; what fits, and what is there already, is taken.
func TestQuotaOfUploads(t *testing.T) {
	t.Parallel()
	m := limits(t, 1<<20)
	first := noise(600 << 10)
	one := m.pushBlob(t, "team/a", first)
	m.wantUsage(t, "a push", 600<<10)
	// Known: before anything is read.
	location := m.open(t, "team/b")
	a, err := m.end(location, noise(500<<10), digest.FromString("never"))
	check(t, err)
	denied(t, "a size that is known", a, "is 1 MiB: 600 KiB are used, and the push needs 500 KiB more")
	if a, err := m.do(http.MethodGet, location, nil); err != nil || a.StatusCode != http.StatusNotFound {
		t.Errorf("the upload that was refused is there: %s, %v", a.Status, err)
	}
	m.wantUsage(t, "a refusal", 600<<10)
	// Not known: when it has passed the quota.
	body := &counted{Reader: bytes.NewReader(noise(64 << 20))}
	a, err = m.do(http.MethodPatch, m.open(t, "team/b"), body)
	check(t, err)
	denied(t, "a size that is not known", a)
	if body.n > 16<<20 {
		t.Errorf("%d bytes were read of it", body.n)
	}
	m.wantUsage(t, "another", 600<<10)
	// In parts: the one that does not fit.
	next := m.chunk(t, m.open(t, "team/b"), noise(300<<10))
	m.wantUsage(t, "a chunk", 900<<10)
	a, err = m.do(http.MethodPatch, next, bytes.NewReader(noise(300<<10)))
	check(t, err)
	denied(t, "the second chunk", a, "900 KiB are used", "300 KiB more")
	m.wantUsage(t, "its end", 600<<10)
	// Cancelled, and with another digest than it says.
	next = m.chunk(t, m.open(t, "team/b"), noise(300<<10))
	if a, err := m.do(http.MethodDelete, next, nil); err != nil || a.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %s, %v", a.Status, err)
	}
	m.wantUsage(t, "a cancelled upload", 600<<10)
	if a, err := m.end(m.open(t, "team/b"), noise(100), one); err != nil || a.StatusCode != http.StatusBadRequest {
		t.Fatalf("a wrong digest: %s, %v", a.Status, err)
	}
	m.wantUsage(t, "a wrong digest", 600<<10)
	// Again, to where it is.
	m.pushBlob(t, "team/a", first[:0])
	if a, err := m.end(m.open(t, "team/a"), first[:1], digest.FromBytes(first[:1])); err != nil || a.StatusCode != http.StatusCreated {
		t.Fatal(a.Status, err)
	}
	m.wantUsage(t, "a byte", 600<<10+1)
	// Elsewhere there is no quota.
	m.pushBlob(t, "other", noise(2<<20))
	m.wantUsage(t, "a push elsewhere", 600<<10+1)
	// To the last byte; then an upload is refused before it begins.
	rest := noise(424<<10 - 1)
	m.pushBlob(t, "team/b", rest)
	m.wantUsage(t, "the last byte", 1<<20)
	a, err = m.do(http.MethodPost, "https://"+m.host()+"/v2/team/b/blobs/uploads/", nil)
	check(t, err)
	denied(t, "the next upload", a, "1 MiB are used")
	if a := m.get(t, "/v2/team/a/blobs/"+one.String()); a.StatusCode != http.StatusOK {
		t.Errorf("a pull: %s", a.Status)
	}
}

func (m *machine) mount(t *testing.T, to, from string, dgst digest.Digest) answer {
	t.Helper()
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+to+"/blobs/uploads/?mount="+dgst.String()+"&from="+from, nil)
	check(t, err)
	return a
}

// A blob that several repositories of a quota have counts once; one that comes from
// outside counts, by mount as by push. A manifest counts with its own bytes, once, and
// with layers that only lie there.
func TestQuotaOfMountsAndManifests(t *testing.T) {
	t.Parallel()
	m := limits(t, 1<<20)
	layer := m.pushBlob(t, "team/a", noise(500<<10))
	if a := m.mount(t, "team/b", "team/a", layer); a.StatusCode != http.StatusCreated {
		t.Fatalf("a mount within the quota: %s %s", a.Status, a.body)
	}
	m.wantUsage(t, "a mount within the quota", 500<<10)
	foreign := m.pushBlob(t, "other", noise(400<<10))
	large := m.pushBlob(t, "other", noise(600<<10))
	if a := m.mount(t, "team/b", "other", foreign); a.StatusCode != http.StatusCreated {
		t.Fatalf("a mount that fits: %s %s", a.Status, a.body)
	}
	m.wantUsage(t, "a mount from outside", 900<<10)
	if a := m.mount(t, "team/b", "other", foreign); a.StatusCode != http.StatusCreated {
		t.Fatalf("again: %s %s", a.Status, a.body)
	}
	m.wantUsage(t, "the same mount", 900<<10)
	denied(t, "a mount that does not fit", m.mount(t, "team/b", "other", large), "900 KiB are used, and the push needs 600 KiB more")
	if a := m.mount(t, "team/b", "other", digest.FromString("nothing")); a.StatusCode != http.StatusAccepted {
		t.Errorf("a mount of what is nowhere: %s %s", a.Status, a.body)
	}
	m.wantUsage(t, "mounts that failed", 900<<10)
	m.pushBlob(t, "team/b", v1.DescriptorEmptyJSON.Data)
	before := m.usage(t)
	put := func(note string) answer {
		a, _ := m.putManifest(t, "team/b", "v1", v1.MediaTypeImageManifest, artifact("text/plain", nil, note))
		return a
	}
	for range 2 { // the same manifest counts once
		if a := put("one"); a.StatusCode != http.StatusCreated {
			t.Fatalf("a manifest: %s %s", a.Status, a.body)
		}
	}
	size := m.usage(t) - before
	if size <= 0 || size > 2000 {
		t.Errorf("a manifest counts %d bytes", size)
	}
	m.pushBlob(t, "team/b", noise(int(1<<20-m.usage(t)-10)))
	denied(t, "a manifest that does not fit", put("two"))
	if a := put("one"); a.StatusCode != http.StatusCreated {
		t.Errorf("the one that is there: %s %s", a.Status, a.body)
	}
	m.wantUsage(t, "all", 1<<20-10)
}

// An image that is put by a reference to another repository counts as one that is pushed.
func TestQuotaOfPutByReference(t *testing.T) {
	t.Parallel()
	m := limits(t, 1<<20)
	put := func(repo string, layer []byte) digest.Digest {
		t.Helper()
		m.pushBlob(t, repo, v1.DescriptorEmptyJSON.Data)
		image := artifact("text/plain", nil, repo)
		image.Layers = []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: m.pushBlob(t, repo, layer), Size: int64(len(layer))}}
		a, d := m.putManifest(t, repo, "v1", v1.MediaTypeImageManifest, image)
		if a.StatusCode != http.StatusCreated {
			t.Fatal(a.Status, a.body)
		}
		return d
	}
	by := func(to, from string, dgst digest.Digest) answer {
		a, err := m.do(http.MethodPut, "https://"+m.host()+"/v2/"+to+"/manifests/v1?mount="+dgst.String()+"&from="+from, nil)
		check(t, err)
		return a
	}
	small, large := put("other/small", noise(600<<10)), put("other/large", noise(600<<10))
	m.wantUsage(t, "pushes elsewhere", 0)
	if a := by("team/a", "other/small", small); a.StatusCode != http.StatusCreated {
		t.Fatalf("what fits: %s %s", a.Status, a.body)
	}
	used := m.usage(t)
	if used < 600<<10 || used > 602<<10 {
		t.Errorf("%d bytes are used", used)
	}
	denied(t, "what does not fit", by("team/a", "other/large", large))
	m.wantUsage(t, "a refusal", used)
	if a := by("team/b", "team/a", small); a.StatusCode != http.StatusCreated {
		t.Fatalf("within the quota: %s %s", a.Status, a.body)
	}
	if more := m.usage(t) - used; more > 2000 {
		t.Errorf("an image that two repositories have counts %d bytes more", more)
	}
}

// Of sixteen pushes at the limit as many succeed as fit, and never more.
func TestRaceToTheQuota(t *testing.T) {
	t.Parallel()
	const size = 100 << 10
	m := limits(t, 4*size+size/2)
	var pushes sync.WaitGroup
	var mu sync.Mutex
	stored, said := 0, 0
	for i := range 16 {
		pushes.Go(func() {
			data := noise(size)
			var a answer
			var err error
			a, err = m.do(http.MethodPost, "https://"+m.host()+fmt.Sprintf("/v2/team/%d/blobs/uploads/", i%3), nil)
			if err == nil && a.StatusCode == http.StatusAccepted && i%2 == 0 {
				a, err = m.end(a.Header.Get("Location"), data, digest.FromBytes(data))
			} else if err == nil && a.StatusCode == http.StatusAccepted {
				if a, err = m.do(http.MethodPatch, a.Header.Get("Location"), &counted{Reader: bytes.NewReader(data)}); err == nil && a.StatusCode == http.StatusAccepted {
					a, err = m.end(a.Header.Get("Location"), nil, digest.FromBytes(data))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == http.StatusCreated:
				stored++
			case a.StatusCode == http.StatusForbidden && code(a) == "DENIED":
				said++
			default:
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
	pushes.Wait()
	if stored > 4 || stored+said != 16 {
		t.Errorf("%d were stored and %d refused", stored, said)
	}
	m.wantUsage(t, "the race", int64(stored)*size)
	for ; stored < 4; stored++ { // those that were in each other's way
		m.pushBlob(t, "team/0", noise(size))
	}
	a, err := m.end(m.open(t, "team/0"), noise(size), digest.FromString("never"))
	check(t, err)
	denied(t, "the fifth", a)
}

// A quota is for what was there before it too, and for what was pushed while there was
// none; restarts and reloads forget nothing.
func TestQuotaOfWhatIsThere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	push := func(repo string) {
		t.Helper()
		m.pushBlob(t, repo, v1.DescriptorEmptyJSON.Data)
		if a, _ := m.putManifest(t, repo, "v1", v1.MediaTypeImageManifest, artifact("text/plain", nil, repo)); a.StatusCode != http.StatusCreated {
			t.Fatal(a.Status, a.body)
		}
	}
	m.pushBlob(t, "team/a", noise(300<<10))
	m.pushBlob(t, "other", noise(300<<10))
	push("team/a")
	push("team/b")
	m.authMore = fmt.Sprintf(limited, 1<<20)
	m.config(t, "debug")
	m.reload(t)
	used := m.usage(t)
	if used < 300<<10+2 || used > 302<<10 {
		t.Errorf("%d bytes are used", used)
	}
	m.signal(t, syscall.SIGTERM)
	<-m.exited
	m.start(t)
	m.pushBlob(t, "team/a", noise(100<<10))
	m.wantUsage(t, "a restart", used+100<<10)
	m.authMore = ""
	m.config(t, "info")
	m.reload(t)
	m.pushBlob(t, "team/a", noise(2<<20))
	m.authMore = fmt.Sprintf(limited, 1<<20)
	m.config(t, "debug")
	m.reload(t)
	m.wantUsage(t, "a time without a quota", used+100<<10+2<<20)
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/team/a/blobs/uploads/", nil)
	check(t, err)
	denied(t, "a push", a, "2.4 MiB are used")
}
