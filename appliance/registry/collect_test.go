//go:build integration

package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	storedriver "github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// Whatever is pushed, pulled, deleted, mounted and tagged while collections run one
// after another, and spare and keep nothing: what was acknowledged and is still wanted
// is there, and in the end nothing else is.
func TestCollectionAmongClients(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		m := newMachine(t)
		m.memory = true
		d := filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100})
		collectAmongClients(t, m, d)
	})
	t.Run("bucket", func(t *testing.T) {
		m := newMachine(t)
		m.memory = true
		params := parameters(t, stores.MinIO(t))
		text, err := json.Marshal(params)
		check(t, err)
		m.bucket = "s3: " + string(text)
		b, err := bucket.OpenDefault(params)
		check(t, err)
		collectAmongClients(t, m, storedriver.New(b, bucket.NewBuffers(16<<20, t.TempDir())))
	})
}

const amongClients = 10 * time.Second

func collectAmongClients(t *testing.T, m *machine, d driver.StorageDriver) {
	m.config(t, "error")
	m.start(t, "REDOUBT_TEST_GRACE=none")
	w := newWorld(t, m)
	ctx, stop := context.WithTimeout(t.Context(), amongClients)
	defer stop()
	var clients, collector sync.WaitGroup
	for range 6 {
		clients.Go(func() { w.client(ctx) })
	}
	runs, interrupted := 0, 0
	var sum collect.Summary
	once := func() error {
		c := collect.Collector{Storage: d, Parallel: 4, Untagged: true, Now: time.Now, Beat: func(context.Context) error { return nil }}
		s, err := c.Run(t.Context())
		sum.TakenBlobs, sum.TakenManifests = sum.TakenBlobs+s.TakenBlobs, sum.TakenManifests+s.TakenManifests
		sum.PurgedBlobs, sum.Restored = sum.PurgedBlobs+s.PurgedBlobs, sum.Restored+s.Restored
		return err
	}
	collector.Go(func() {
		for ctx.Err() == nil && !t.Failed() {
			runs++
			if err := once(); err != nil {
				interrupted++
				t.Logf("a run was interrupted: %v", err)
			}
		}
	})
	clients.Wait()
	collector.Wait()
	t.Logf("%d runs (%d interrupted): %d manifests and %d blobs taken, %d purged, %d brought back; %d pushes (%d again), %d pulls",
		runs, interrupted, sum.TakenManifests, sum.TakenBlobs, sum.PurgedBlobs, sum.Restored, w.pushes.Load(), w.again.Load(), w.pulls.Load())
	if t.Failed() {
		return
	}
	if sum.PurgedBlobs == 0 || w.pulls.Load() == 0 || runs-interrupted < 3 {
		t.Error("too little has happened to mean anything")
	}
	for range 3 {
		check(t, once())
	}
	w.pullAll()
	w.onlyWanted(d)
}

// part is a manifest and what it leads to.
type part struct {
	digest    digest.Digest
	data      []byte
	mediaType string
	blobs     []digest.Digest
	children  []*part
	subject   *part
}

// world is what must be there.
type world struct {
	t         *testing.T
	m         *machine
	transport *http.Transport
	content   map[digest.Digest][]byte
	images    []*part
	indexes   []*part
	repos     map[string]*repo

	pushes, again, pulls atomic.Int64

	mu         sync.Mutex
	signatures []*part // all that were ever put
}

type repo struct {
	deletions sync.RWMutex // by digest: they concern all tags
	tags      map[string]*tag
}

type tag struct {
	mu        sync.Mutex
	is        *part
	referrers []*part
}

func newWorld(t *testing.T, m *machine) *world {
	w := &world{t: t, m: m, transport: m.transport(), content: map[digest.Digest][]byte{}, repos: map[string]*repo{}}
	t.Cleanup(w.transport.CloseIdleConnections)
	blob := func(data []byte) v1.Descriptor {
		dgst := digest.FromBytes(data)
		w.content[dgst] = data
		return v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: dgst, Size: int64(len(data))}
	}
	var layers []v1.Descriptor
	for i := range 6 {
		layers = append(layers, blob(bytes.Repeat([]byte(fmt.Sprintf("layer %d ", i)), 500)))
	}
	for i := range 9 {
		config := blob([]byte(fmt.Sprintf(`{"architecture":"amd64","os":"linux","n":%d,"rootfs":{"type":"layers","diff_ids":[]}}`, i)))
		config.MediaType = v1.MediaTypeImageConfig
		w.images = append(w.images, w.image(config, nil, layers[i%6], layers[(i+1+i/6)%6]))
	}
	for i := range 3 {
		index := v1.Index{MediaType: v1.MediaTypeImageIndex}
		index.SchemaVersion = 2
		p := &part{mediaType: v1.MediaTypeImageIndex}
		for _, child := range w.images[2*i : 2*i+2] {
			index.Manifests = append(index.Manifests, v1.Descriptor{MediaType: child.mediaType, Digest: child.digest, Size: int64(len(child.data))})
			p.children = append(p.children, child)
		}
		w.indexes = append(w.indexes, p.seal(t, index))
	}
	for _, name := range []string{"team/one", "team/two"} {
		w.repos[name] = &repo{tags: map[string]*tag{}}
		for i := range 3 {
			w.repos[name].tags[fmt.Sprintf("v%d", i)] = &tag{}
		}
	}
	return w
}

// config is the config of an image.
func (w *world) config(i int) v1.Descriptor {
	dgst := w.images[i].blobs[0]
	return v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: dgst, Size: int64(len(w.content[dgst]))}
}

func (w *world) image(config v1.Descriptor, subject *part, layers ...v1.Descriptor) *part {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: config, Layers: layers}
	m.SchemaVersion = 2
	p := &part{mediaType: v1.MediaTypeImageManifest, blobs: []digest.Digest{config.Digest}, subject: subject}
	if subject != nil {
		m.ArtifactType = "application/x-signature"
		m.Subject = &v1.Descriptor{MediaType: subject.mediaType, Digest: subject.digest, Size: int64(len(subject.data))}
	}
	for _, l := range layers {
		p.blobs = append(p.blobs, l.Digest)
	}
	return p.seal(w.t, m)
}

func (p *part) seal(t *testing.T, v any) *part {
	var err error
	p.data, err = json.Marshal(v)
	check(t, err)
	p.digest = digest.FromBytes(p.data)
	return p
}

func (w *world) ask(method, path string, body []byte, header ...string) answer {
	target := path
	if strings.HasPrefix(path, "/") {
		target = "https://" + w.m.host() + path
	}
	a, err := send(w.transport, method, target, bytes.NewReader(body), header...)
	if err != nil {
		w.t.Errorf("%s %s: %v", method, path, err)
		return answer{Response: &http.Response{Header: http.Header{}}}
	}
	if a.StatusCode >= 500 && !went(a) {
		w.t.Errorf("%s %s: %s %s", method, path, a.Status, a.body)
	}
	return a
}

// went tells whether a blob was collected while it was uploaded, which only happens where
// nothing is spared. It is pushed again.
func went(a answer) bool {
	return a.StatusCode == http.StatusServiceUnavailable && strings.Contains(a.body, "went while it was uploaded")
}

// client does one thing after another.
func (w *world) client(ctx context.Context) {
	for ctx.Err() == nil && !w.t.Failed() {
		name := []string{"team/one", "team/two"}[rand.IntN(2)]
		r := w.repos[name]
		label := fmt.Sprintf("v%d", rand.IntN(3))
		r.deletions.RLock()
		switch n := rand.IntN(20); {
		case n < 6:
			w.push(name, label, w.images[rand.IntN(len(w.images))])
		case n < 9:
			w.push(name, label, w.indexes[rand.IntN(len(w.indexes))])
		case n < 11:
			w.sign(name, label)
		case n < 17:
			w.pull(name, label)
		case n < 19:
			w.untag(name, label)
		default:
			r.deletions.RUnlock()
			w.delete(name, label)
			continue
		}
		r.deletions.RUnlock()
	}
}

func other(name string) string {
	if name == "team/one" {
		return "team/two"
	}
	return "team/one"
}

// upload makes a blob be there as clients do.
func (w *world) upload(name string, dgst digest.Digest) {
	base := "/v2/" + name + "/blobs/"
	if w.ask(http.MethodHead, base+dgst.String(), nil).StatusCode == http.StatusOK {
		return
	}
	query := ""
	if rand.IntN(2) == 0 {
		query = "?" + url.Values{"mount": {dgst.String()}, "from": {other(name)}}.Encode()
	}
	a := w.ask(http.MethodPost, base+"uploads/"+query, nil)
	if a.StatusCode == http.StatusCreated {
		return
	}
	at := a.Header.Get("Location")
	if a.StatusCode != http.StatusAccepted || at == "" {
		w.t.Errorf("POST: %s %s", a.Status, a.body)
		return
	}
	if a = w.ask(http.MethodPut, at+"&digest="+url.QueryEscape(dgst.String()), w.content[dgst], "Content-Type", "application/octet-stream"); a.StatusCode != http.StatusCreated && !went(a) {
		w.t.Errorf("PUT of a blob: %s %s", a.Status, a.body)
	}
}

// put puts a manifest and all it needs. It tells whether that was acknowledged.
func (w *world) put(name, reference string, p *part) bool {
	for range 50 {
		for _, b := range p.blobs {
			w.upload(name, b)
		}
		for _, child := range p.children {
			if !w.put(name, child.digest.String(), child) {
				return false
			}
		}
		a := w.ask(http.MethodPut, "/v2/"+name+"/manifests/"+reference, p.data, "Content-Type", p.mediaType)
		switch a.StatusCode {
		case http.StatusCreated:
			if !w.whole(name, reference, p) {
				w.again.Add(1)
				continue
			}
			w.pushes.Add(1)
			return true
		case http.StatusNotFound, http.StatusBadRequest: // a blob went in between, since nothing is spared
			if !strings.Contains(a.body, "BLOB_UNKNOWN") {
				w.t.Errorf("PUT of a manifest: %s %s", a.Status, a.body)
				return false
			}
			w.again.Add(1)
		default:
			w.t.Errorf("PUT of a manifest: %s %s", a.Status, a.body)
			return false
		}
	}
	w.t.Error("a push did not come to an end")
	return false
}

// whole tells whether a manifest that was taken is there with all that it needs. Where
// nothing is spared, two collections may come between its link and its tag and purge it;
// an index may have what is not there.
func (w *world) whole(name, reference string, p *part) bool {
	if w.ask(http.MethodHead, "/v2/"+name+"/manifests/"+reference, nil, "Accept", "*/*").StatusCode != http.StatusOK {
		return false
	}
	for _, b := range p.blobs {
		if w.ask(http.MethodHead, "/v2/"+name+"/blobs/"+b.String(), nil).StatusCode >= http.StatusBadRequest {
			return false
		}
	}
	for _, child := range p.children {
		if !w.whole(name, child.digest.String(), child) {
			return false
		}
	}
	return true
}

func (w *world) push(name, label string, p *part) {
	t := w.repos[name].tags[label]
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.put(name, label, p) {
		t.is, t.referrers = p, nil
	}
}

// sign pushes what refers to what a tag points to.
func (w *world) sign(name, label string) {
	t := w.repos[name].tags[label]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.is == nil || len(t.referrers) > 1 {
		return
	}
	p := w.image(w.config(rand.IntN(len(w.images))), t.is)
	if w.put(name, p.digest.String(), p) {
		t.referrers = append(t.referrers, p)
		w.mu.Lock()
		w.signatures = append(w.signatures, p)
		w.mu.Unlock()
	}
}

func (w *world) pull(name, label string) {
	t := w.repos[name].tags[label]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.is == nil {
		return
	}
	w.get(name, label, t.is)
	for _, p := range t.referrers {
		w.get(name, p.digest.String(), p)
	}
	w.pulls.Add(1)
}

// get gets a manifest and all that it needs.
func (w *world) get(name, reference string, p *part) {
	a := w.ask(http.MethodGet, "/v2/"+name+"/manifests/"+reference, nil, "Accept", "*/*")
	if a.StatusCode != http.StatusOK || digest.FromString(a.body) != p.digest {
		w.t.Errorf("%s:%s, which is %s: %s %s", name, reference, p.digest, a.Status, a.body)
		return
	}
	for _, b := range p.blobs {
		a := w.ask(http.MethodGet, "/v2/"+name+"/blobs/"+b.String(), nil)
		body := a.body
		if a.StatusCode == http.StatusTemporaryRedirect {
			body = w.follow(a.Header.Get("Location"))
		} else if a.StatusCode != http.StatusOK {
			w.t.Errorf("blob %s of %s:%s: %s %s", b, name, reference, a.Status, a.body)
			continue
		}
		if digest.FromString(body) != b {
			w.t.Errorf("blob %s of %s:%s has another content: %.300s", b, name, reference, body)
		}
	}
	for _, child := range p.children {
		w.get(name, child.digest.String(), child)
	}
}

// follow reads from the bucket.
func (w *world) follow(at string) string {
	a, err := http.Get(at)
	if err != nil {
		w.t.Error(err)
		return ""
	}
	defer a.Body.Close()
	body, _ := io.ReadAll(a.Body)
	return string(body)
}

func (w *world) untag(name, label string) {
	t := w.repos[name].tags[label]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.is == nil {
		return
	}
	if a := w.ask(http.MethodDelete, "/v2/"+name+"/manifests/"+label, nil); a.StatusCode != http.StatusAccepted {
		w.t.Errorf("DELETE of a tag: %s %s", a.Status, a.body)
	}
	t.is, t.referrers = nil, nil
}

// delete deletes a manifest, with the tags that point to it.
func (w *world) delete(name, label string) {
	r := w.repos[name]
	r.deletions.Lock()
	defer r.deletions.Unlock()
	is := r.tags[label].is
	if is == nil {
		return
	}
	switch a := w.ask(http.MethodDelete, "/v2/"+name+"/manifests/"+is.digest.String(), nil); a.StatusCode {
	case http.StatusAccepted:
	case http.StatusConflict: // an index needs it
		return
	default:
		w.t.Errorf("DELETE of %s: %s %s", is.digest, a.Status, a.body)
	}
	for _, t := range r.tags {
		if t.is == is {
			t.is, t.referrers = nil, nil
		}
	}
}

func (w *world) pullAll() {
	for name, r := range w.repos {
		for label := range r.tags {
			w.pull(name, label)
		}
	}
}

// onlyWanted says that the blobs in the storage are those that are wanted.
func (w *world) onlyWanted(d driver.StorageDriver) {
	want := map[digest.Digest]bool{}
	var need func(p *part)
	need = func(p *part) {
		want[p.digest] = true
		for _, b := range p.blobs {
			want[b] = true
		}
		for _, child := range p.children {
			need(child)
		}
	}
	for _, r := range w.repos {
		for _, t := range r.tags {
			if t.is != nil {
				need(t.is)
			}
			for _, p := range t.referrers {
				need(p)
			}
		}
	}
	// A signature of an image that was tagged away and back is of use again.
	may := maps.Clone(want)
	for _, p := range w.signatures {
		if want[p.subject.digest] {
			may[p.digest], may[p.blobs[0]] = true, true
		}
	}
	have := map[digest.Digest]bool{}
	shards, err := layout.Shards(w.t.Context(), d)
	check(w.t, err)
	for _, shard := range shards {
		blobs, _, err := layout.Shard(w.t.Context(), d, shard)
		check(w.t, err)
		for _, b := range blobs {
			have[b.Digest] = true
		}
	}
	for dgst := range maps.Keys(want) {
		if !have[dgst] {
			w.t.Errorf("%s is wanted and not there", dgst)
		}
	}
	for dgst := range have {
		if !may[dgst] {
			w.t.Errorf("%s is there, and nothing needs it", dgst)
		}
	}
}

// An index holds the images that it lists with all that they are made of, also what a
// collection has taken before: the next one would purge it.
func TestAnIndexBringsItsImagesBack(t *testing.T) {
	m := newMachine(t)
	d := filesystem.New(filesystem.DriverParameters{RootDirectory: m.path("store"), MaxThreads: 100})
	m.config(t, "error")
	m.start(t, "REDOUBT_TEST_GRACE=none")
	w := newWorld(t, m)
	child := w.indexes[0].children[0]
	for _, c := range w.indexes[0].children {
		if !w.put("team/one", c.digest.String(), c) {
			t.Fatal("the image was not taken")
		}
	}
	if _, err := trash.Take(t.Context(), d, layout.Path(child.blobs[0]), 1); err != nil {
		t.Fatal(err)
	}
	put := func() answer {
		return w.ask(http.MethodPut, "/v2/team/one/manifests/v1", w.indexes[0].data, "Content-Type", w.indexes[0].mediaType)
	}
	if a := put(); a.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if _, err := d.Stat(t.Context(), layout.Path(child.blobs[0])); err != nil {
		t.Errorf("the index was taken, and a layer is still in the trash: %v", err)
	}
	check(t, d.Delete(t.Context(), layout.Path(child.blobs[0])))
	if a := put(); a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, child.blobs[0].String()) {
		t.Errorf("without a layer of its image: %s %s", a.Status, a.body)
	}
}
