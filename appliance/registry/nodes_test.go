//go:build integration

package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// nodes are machines that share one bucket and one secret.
type nodes []*machine

// eachService runs a test with three machines on a bucket of each service.
func eachService(t *testing.T, test func(t *testing.T, n nodes)) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) { test(t, newNodes(t, start(t))) })
	}
}

func newNodes(t *testing.T, s *stores.Store) nodes {
	t.Helper()
	text, err := json.Marshal(parameters(t, s))
	check(t, err)
	var n nodes
	for range 3 {
		m := newMachine(t)
		m.bucket = "s3: " + string(text) + "\n  redirect: {disable: true}"
		m.authMore = ", challenges: bucket"
		m.config(t, "info")
		m.start(t)
		n = append(n, m)
	}
	return n
}

func parameters(t *testing.T, s *stores.Store) map[string]any {
	t.Helper()
	return map[string]any{"bucket": s.NewBucket(t), "region": s.Region, "regionendpoint": s.Endpoint, "forcepathstyle": true,
		"accesskey": s.AccessKey, "secretkey": s.SecretKey, "rootdirectory": "some/root"}
}

// at is the URL of an upload as another machine has it: they have one name, and
// here each has a port of its own.
func (m *machine) at(t *testing.T, location string) string {
	t.Helper()
	u, err := url.Parse(location)
	check(t, err)
	u.Host = m.host()
	return u.String()
}

// post begins an upload.
func (m *machine) post(t *testing.T, repo string) string {
	t.Helper()
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+repo+"/blobs/uploads/", nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("POST: %s %s", a.Status, a.body)
	}
	return a.Header.Get("Location")
}

// patch goes on with an upload, and returns where the next goes.
func (m *machine) patch(t *testing.T, location string, offset int, data []byte) string {
	t.Helper()
	a, err := m.do(http.MethodPatch, m.at(t, location), bytes.NewReader(data),
		"Content-Type", "application/octet-stream", "Content-Range", fmt.Sprintf("%d-%d", offset, offset+len(data)-1))
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("PATCH: %s %s", a.Status, a.body)
	}
	if want := fmt.Sprintf("0-%d", offset+len(data)-1); a.Header.Get("Range") != want {
		t.Fatalf("the upload has %s, and not %s", a.Header.Get("Range"), want)
	}
	return a.Header.Get("Location")
}

// put ends an upload with its last data.
func (m *machine) put(t *testing.T, location string, data []byte, d digest.Digest) {
	t.Helper()
	a, err := m.do(http.MethodPut, m.at(t, location)+"&digest="+url.QueryEscape(d.String()), bytes.NewReader(data), "Content-Type", "application/octet-stream")
	check(t, err)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", a.Status, a.body)
	}
}

// has checks that every machine has a blob, to the byte.
func (n nodes) has(t *testing.T, repo string, data []byte, but ...*machine) {
	t.Helper()
	d := digest.FromBytes(data)
	for i, m := range n {
		if len(but) > 0 && m == but[0] {
			continue
		}
		a := m.get(t, "/v2/"+repo+"/blobs/"+d.String())
		if a.StatusCode != http.StatusOK || digest.FromString(a.body) != d {
			t.Errorf("machine %d: %s, %d bytes", i, a.Status, len(a.body))
		}
	}
}

// Each request of one upload goes to another machine, with pieces of all sizes:
// smaller than a part of the bucket, larger, and a byte.
func TestUploadGoesOnAtAnotherMachine(t *testing.T) {
	eachService(t, func(t *testing.T, n nodes) {
		const mib = 1 << 20
		for name, sizes := range map[string][]int{
			"small":        {100, 1, 1000},
			"a few parts":  {6 * mib, 1, 100_000, 12*mib + 7},
			"whole parts":  {8 * mib, 8 * mib, 8 * mib},
			"bytes in all": {1, 1, 1, 1, 1},
			"large last":   {1, 20 * mib},
		} {
			t.Run(name, func(t *testing.T) {
				var whole []byte
				location := n[0].post(t, "team/app")
				for i, size := range sizes[:len(sizes)-1] {
					data := noise(size)
					location = n[(i+1)%3].patch(t, location, len(whole), data)
					whole = append(whole, data...)
				}
				last := noise(sizes[len(sizes)-1])
				whole = append(whole, last...)
				n[len(sizes)%3].put(t, location, last, digest.FromBytes(whole))
				n.has(t, "team/app", whole)
			})
		}
	})
}

// What a machine has acknowledged is there after it was killed: another one goes
// on from there.
func TestUploadOfAKilledMachineGoesOn(t *testing.T) {
	eachService(t, func(t *testing.T, n nodes) {
		first, second, last := noise(7<<20+3), noise(100_000), noise(5)
		location := n[0].post(t, "team/app")
		location = n[0].patch(t, location, 0, first)
		n[0].signal(t, syscall.SIGKILL)
		<-n[0].exited
		location = n[1].patch(t, location, len(first), second)
		whole := bytes.Join([][]byte{first, second, last}, nil)
		n[2].put(t, location, last, digest.FromBytes(whole))
		n.has(t, "team/app", whole, n[0])
	})
}

// A machine is killed in the middle of a piece. Whatever of it another one says
// that it has, it has: a client that goes on from there gets its blob, and so does
// one that begins again.
func TestUploadThatIsCutGoesOn(t *testing.T) {
	eachService(t, func(t *testing.T, n nodes) {
		whole := noise(40 << 20)
		first := whole[:9<<20]
		location := n[0].patch(t, n[0].post(t, "team/app"), 0, first)
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := n[0].do(http.MethodPatch, n[0].at(t, location), r, "Content-Type", "application/octet-stream")
			done <- err
		}()
		_, err := w.Write(whole[len(first) : 30<<20])
		check(t, err)
		n[0].signal(t, syscall.SIGKILL)
		<-n[0].exited
		w.Close()
		if err := <-done; err == nil {
			t.Fatal("the piece was not cut")
		}
		a, err := n[1].do(http.MethodGet, n[1].at(t, location), nil)
		check(t, err)
		if a.StatusCode != http.StatusNoContent {
			t.Fatalf("the state of the upload: %s %s", a.Status, a.body)
		}
		at := stands(t, a)
		if at < len(first) {
			t.Fatalf("%d bytes are left of the %d that were acknowledged", at, len(first))
		}
		t.Logf("%d of %d bytes are there", at, 30<<20)
		n.goOn(t, a, whole, n[2])
		n.has(t, "team/app", whole, n[0])
		again := noise(10 << 20)
		n[2].put(t, n[1].post(t, "team/app"), again, digest.FromBytes(again))
		n.has(t, "team/app", again, n[0])
	})
}

// goOn ends an upload from where an answer says that it stands. A part that the dead
// machine had sent may become a part of the upload afterwards: whoever is answered 416
// goes on from what comes with it.
func (n nodes) goOn(t *testing.T, a answer, whole []byte, m *machine) {
	t.Helper()
	for range 10 {
		at := stands(t, a)
		var err error
		a, err = m.do(http.MethodPut, m.at(t, a.Header.Get("Location"))+"&digest="+digest.FromBytes(whole).String(), bytes.NewReader(whole[at:]))
		check(t, err)
		switch a.StatusCode {
		case http.StatusCreated:
			return
		case http.StatusRequestedRangeNotSatisfiable:
			if now := stands(t, a); now <= at {
				t.Fatalf("refused at %d, and the upload stands at %d", at, now)
			}
		default:
			t.Fatalf("PUT: %s %s", a.Status, a.body)
		}
	}
	t.Fatal("the upload never stands still")
}

// stands is how many bytes an upload has by an answer.
func stands(t *testing.T, a answer) int {
	t.Helper()
	_, end, ok := strings.Cut(a.Header.Get("Range"), "-")
	at, err := strconv.Atoi(end)
	if !ok || err != nil || a.Header.Get("Location") == "" {
		t.Fatalf("the upload's state: %s, range %q, location %q %s", a.Status, a.Header.Get("Range"), a.Header.Get("Location"), a.body)
	}
	return at + 1
}

// Pushes to any, pulls from any, and what one deletes the others do not have.
func TestPushAndPullAnywhere(t *testing.T) {
	eachService(t, func(t *testing.T, n nodes) {
		for i, m := range n {
			image, err := random.Image(300_000, 3)
			check(t, err)
			repo := fmt.Sprintf("team/app%d:v1", i)
			check(t, m.push(image, repo))
			want, err := image.Digest()
			check(t, err)
			for j, other := range n {
				got, err := other.pull(repo)
				check(t, err)
				if d, err := got.Digest(); err != nil || d != want {
					t.Errorf("pushed to %d, pulled from %d: %v %v", i, j, d, err)
				}
				layers, err := got.Layers()
				check(t, err)
				for _, l := range layers {
					body, err := l.Compressed() // which checks the digest
					check(t, err)
					_, err = io.Copy(io.Discard, body)
					check(t, err)
				}
			}
			path := fmt.Sprintf("/v2/team/app%d/manifests/%s", i, want)
			for _, other := range n {
				if status := other.head(t, path); status != http.StatusOK {
					t.Errorf("before: %d", status)
				}
			}
			n[(i+1)%3].delete(t, path)
			for j, other := range n {
				if status := other.head(t, path); status != http.StatusNotFound {
					t.Errorf("deleted at %d, machine %d says %d", (i+1)%3, j, status)
				}
			}
		}
	})
}

// Any machine answers a CA, whichever of them asked it.
func TestAnyMachineAnswersTheCA(t *testing.T) {
	s := stores.MinIO(t)
	n := newNodes(t, s)
	params := parameters(t, s) // of a bucket of its own
	params["bucket"] = "bucket-1"
	b, err := bucket.OpenDefault(params)
	check(t, err)
	const token = "a-token-of-the-certificate-authority"
	_, err = sharedstate.ChallengesIn(b).Put(t.Context(), token, []byte(token+".print"), "")
	check(t, err)
	for i, m := range n {
		base := "http://" + m.http.Addr().String() + challengePrefix
		for path, want := range map[string]int{token: 200, "a-token-of-nobody-that-is-as-long": 404, "short": 404, "../state.json": 404, "": 404} {
			a, err := send(http.DefaultTransport, "GET", base+path, nil)
			check(t, err)
			if a.StatusCode != want || want == 200 && a.body != token+".print" {
				t.Errorf("machine %d: %q: %s %q, want %d", i, path, a.Status, a.body, want)
			}
		}
		m.write(t, "maintenance.json", `{"hostname":"x","errors":[]}`)
		m.reload(t)
		if a, err := send(http.DefaultTransport, "GET", base+token, nil); err != nil || a.StatusCode != 200 {
			t.Errorf("machine %d in maintenance: %v %v", i, a.Response, err)
		}
	}
	s.Kill()
	for i, m := range n {
		a, err := send(http.DefaultTransport, "GET", "http://"+m.http.Addr().String()+challengePrefix+"another-token-of-the-authority", nil)
		check(t, err)
		if a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("machine %d without its bucket: %s", i, a.Status)
		}
	}
}

// Of pushes to a new immutable tag at three machines one wins.
func TestRaceToAnImmutableTagOfABucket(t *testing.T) {
	eachService(t, func(t *testing.T, n nodes) {
		for _, m := range n {
			m.authMore += written
			m.config(t, "info")
			m.reload(t)
		}
		n[0].pushBlob(t, "release/app", v1.DescriptorEmptyJSON.Data)
		race(t, n, 4)
	})
}

// Machines on one bucket keep a quota together: of sixteen pushes by turns at them no more
// succeed than fit.
func TestQuotaOfNodes(t *testing.T) {
	t.Parallel()
	n := newNodes(t, stores.MinIO(t))
	for _, m := range n {
		m.authMore += fmt.Sprintf(limited, 450<<10)
		m.config(t, "debug")
		m.reload(t)
	}
	n[0].pushBlob(t, "team/first", noise(1000))
	var pushes sync.WaitGroup
	var stored, refused atomic.Int64
	for i := range 16 {
		m := n[i%3]
		pushes.Go(func() {
			data := noise(100 << 10)
			a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/team/app/blobs/uploads/", nil)
			if err == nil && a.StatusCode == http.StatusAccepted {
				a, err = m.end(a.Header.Get("Location"), data, digest.FromBytes(data))
			}
			switch {
			case err != nil:
				t.Error(err)
			case a.StatusCode == http.StatusCreated:
				stored.Add(1)
			case a.StatusCode == http.StatusForbidden && code(a) == "DENIED":
				refused.Add(1)
			default:
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
	pushes.Wait()
	if stored.Load() != 4 || refused.Load() != 12 {
		t.Errorf("%d were stored and %d refused", stored.Load(), refused.Load())
	}
	a, err := n[2].end(n[2].open(t, "team/app"), noise(100<<10), digest.FromString("never"))
	check(t, err)
	denied(t, "the next", a)
}
