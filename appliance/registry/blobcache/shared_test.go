//go:build integration

package blobcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
	"github.com/redoubt-registry/redoubt/test/proxy"
	real "github.com/redoubt-registry/redoubt/test/redis"
)

// site is a storage that several machines share.
type site struct {
	root, prefix string
}

func newSite(t *testing.T) site {
	t.Helper()
	root := t.TempDir()
	return site{root, Prefix(configuration.Storage{"filesystem": {"rootdirectory": root}})}
}

// logged is what a cache has logged.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) add(t *testing.T) func(string, error) {
	return func(text string, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil {
			text += ": " + err.Error()
		}
		l.lines = append(l.lines, text)
		t.Log(text)
	}
}

func (l *logged) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// node is the cache of one machine at a site.
func (s site) node(t *testing.T, address string, budget time.Duration, credentials ...string) (*Cache, *logged) {
	t.Helper()
	var section configuration.Redis
	section.Options.Addrs = []string{address}
	return s.over(t, section, budget, credentials...)
}

func (s site) over(t *testing.T, section configuration.Redis, budget time.Duration, credentials ...string) (*Cache, *logged) {
	t.Helper()
	server, err := redis.New(section, credentials...)
	if err != nil {
		t.Fatal(err)
	}
	log := new(logged)
	c := newCache(server, s.prefix, budget, log.add(t))
	t.Cleanup(func() { c.Close() })
	c.epoch.use(filesystem.New(filesystem.DriverParameters{RootDirectory: s.root, MaxThreads: 100}))
	return c, log
}

// ready waits until a node believes what it reads.
func ready(t *testing.T, caches ...*Cache) {
	t.Helper()
	for _, c := range caches {
		until(t, "the cache to be in use", func() bool {
			_, known := c.word()
			return known && !c.Stats().Open
		})
	}
}

const patient = 10 * time.Second // a budget that a busy machine does not use up

func TestMachinesShareWhatTheyCache(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	one, _ := s.node(t, r.Address, patient)
	two, _ := s.node(t, r.Address, patient)
	other, _ := newSite(t).node(t, r.Address, patient)
	ready(t, one, two, other)
	a, b, d := repository(t, one, "a"), repository(t, two, "a"), descriptor(1)
	set(t, a, d)
	set(t, one, d)
	wantHit(t, b, d)
	wantHit(t, two, d)
	wantMiss(t, repository(t, other, "a"), d) // another storage
	wantMiss(t, other, d)

	// A deletion through one holds for all, and outlasts a late reader.
	if err := b.Clear(t.Context(), d.Digest); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, a, d)
	set(t, a, d)
	set(t, one, d)
	wantMiss(t, a, d)
	wantMiss(t, b, d)

	// Neither a reload nor a new process empties it.
	set(t, a, descriptor(2))
	one.Reloaded()
	wantHit(t, a, descriptor(2))
	three, _ := s.node(t, r.Address, patient)
	ready(t, three)
	wantHit(t, repository(t, three, "a"), descriptor(2))

	// A flush is a flush.
	r.Do(t, "FLUSHALL")
	wantMiss(t, a, descriptor(2))
	set(t, a, descriptor(2))
	wantHit(t, b, descriptor(2))
}

// What a server brings back from its disk may be older than a deletion.
func TestNothingIsBelievedAfterARestart(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	one, _ := s.node(t, r.Address, patient)
	ready(t, one)
	set(t, one, descriptor(1))
	set(t, one, descriptor(2))
	r.Do(t, "SAVE")
	if err := one.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	r.Run(t)
	two, _ := s.node(t, r.Address, patient)
	ready(t, two)
	if n := r.Do(t, "DBSIZE"); !strings.Contains(n, "2") && !strings.Contains(n, "3") {
		t.Fatalf("the server has brought back %s keys", n)
	}
	wantMiss(t, two, descriptor(1))
	wantMiss(t, two, descriptor(2))
	set(t, two, descriptor(2)) // replaces what is stale
	wantHit(t, two, descriptor(2))
}

// A deletion while Redis is dead holds for a machine that is only born when it
// is back, with all that it had.
func TestClearWhileDead(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	one, _ := s.node(t, r.Address, patient)
	ready(t, one)
	set(t, one, descriptor(1))
	run, epoch := runOf(t, one), wordOf(t, one)
	r.Stop()
	if err := one.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatalf("a dead Redis failed a deletion: %v", err)
	}
	if wordOf(t, one) == epoch {
		t.Error("the epoch is the same")
	}
	one.Close()
	r.Run(t)
	two, _ := s.node(t, r.Address, patient)
	ready(t, two)
	// Even if the run were the same, as after a cut network.
	if runOf(t, two) == run {
		t.Fatal("two runs of a server have one name")
	}
	wantMiss(t, two, descriptor(1))
	if wordOf(t, two) == epoch {
		t.Error("another machine is in the old epoch")
	}
}

func wordOf(t *testing.T, c *Cache) string {
	t.Helper()
	word := ""
	until(t, "the epoch to be known", func() (known bool) { word, known = c.word(); return known })
	return word
}

func runOf(t *testing.T, c *Cache) string {
	t.Helper()
	run := ""
	err := c.do(t.Context(), func(_ context.Context, conn *redis.Conn) error { run = conn.Run(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// A machine that was cut off ends the epoch for one that is not.
func TestClearOfAMachineThatIsCutOff(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	one, _ := s.node(t, r.Address, patient)
	two, _ := s.node(t, r.Address, patient)
	ready(t, one, two)
	set(t, one, descriptor(1))
	wantHit(t, two, descriptor(1))
	one.giveUp(errors.New("cut off"))
	if err := one.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Fatal(err)
	}
	until(t, "the other machine to forget", func() bool {
		_, err := two.Stat(t.Context(), descriptor(1).Digest)
		return err != nil
	})
	ready(t, one, two)
	wantMiss(t, two, descriptor(1))
	wantMiss(t, one, descriptor(1))
	set(t, two, descriptor(1)) // pushed again
	wantHit(t, two, descriptor(1))
	wantHit(t, one, descriptor(1))
}

// A request that read the storage in an epoch that is over caches nothing of it.
func TestLateReaderOfAnotherEpoch(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	c, _ := s.node(t, r.Address, patient)
	ready(t, c)
	late := c.Request(t.Context())
	if _, err := c.Stat(late, descriptor(1).Digest); err == nil {
		t.Fatal("a hit in an empty cache")
	}
	if err := c.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDescriptor(late, descriptor(1).Digest, descriptor(1)); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, c, descriptor(1))
	now := c.Request(t.Context())
	if err := c.SetDescriptor(now, descriptor(1).Digest, descriptor(1)); err != nil {
		t.Fatal(err)
	}
	wantHit(t, c, descriptor(1))
}

func TestForget(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	c, _ := s.node(t, r.Address, patient)
	ready(t, c)
	d := descriptor(1)
	set(t, c, d)
	if err := c.Clear(t.Context(), descriptor(2).Digest); err != nil {
		t.Fatal(err)
	}
	if err := c.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, c, d)
	set(t, c, d)
	wantHit(t, c, d) // in the place of the stale one
	set(t, c, descriptor(2))
	wantMiss(t, c, descriptor(2)) // a tombstone is of no epoch
}

// broken is a storage that fails.
type broken struct{ driver.StorageDriver }

func (broken) GetContent(context.Context, string) ([]byte, error) {
	return nil, errors.New("out of order")
}
func (broken) PutContent(context.Context, string, []byte) error { return errors.New("out of order") }

// With neither Redis nor the storage nobody can be told: nothing is deleted, and
// nothing is believed.
func TestClearWithNeitherRedisNorStorage(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	c, _ := s.node(t, r.Address, patient)
	ready(t, c)
	set(t, c, descriptor(1))
	c.epoch.use(broken{})
	if err := c.Clear(t.Context(), descriptor(1).Digest); err != nil {
		t.Errorf("Redis confirms, but: %v", err)
	}
	set(t, c, descriptor(2))
	r.Stop()
	if err := c.Clear(t.Context(), descriptor(2).Digest); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("%v, want the storage's error", err)
	}
	r.Run(t)
	until(t, "the breaker to close", func() bool { return !c.Stats().Open })
	wantMiss(t, c, descriptor(2))
	if _, known := c.word(); known {
		t.Error("the epoch is known without the storage")
	}
}

// The lease ends when the storage does not answer, also for a Redis that does.
func TestLease(t *testing.T) {
	r := real.Start(t, real.Options{})
	c, _ := newSite(t).node(t, r.Address, patient)
	ready(t, c)
	set(t, c, descriptor(1))
	wantHit(t, c, descriptor(1))
	old := *c.epoch.known.Load()
	c.epoch.use(broken{})
	c.epoch.known.Store(&reading{old.word, time.Now().Add(-lease)})
	wantMiss(t, c, descriptor(1))
}

// What is not ours, damaged, poisoned or of another version is a miss, and gives
// way to what is right.
func TestWrongValues(t *testing.T) {
	r := real.Start(t, real.Options{})
	c, _ := newSite(t).node(t, r.Address, patient)
	ready(t, c)
	run, word := runOf(t, c), wordOf(t, c)
	mime := `"mediaType":"application/octet-stream"`
	for i, text := range []string{
		"", "{", "null", "[]", "7", strings.Repeat("x", 1<<20),
		`{"v":2,"r":"` + run + `","d":{"digest":"x","size":1,` + mime + `}}`,
		`{"v":2,"r":"` + run + `","d":{"digest":"` + descriptor(1000).Digest.String() + `","size":1,` + mime + `}}`,
		`{"v":2,"r":"` + run + `","d":{"digest":"` + descriptor(8).Digest.String() + `","size":-1,` + mime + `}}`,
		`{"v":2,"r":"` + run + `","d":{"digest":"` + descriptor(9).Digest.String() + `","size":1}}`,
		`{"v":3,"r":"` + run + `","d":{"digest":"` + descriptor(10).Digest.String() + `","size":1,` + mime + `}}`,
		`{"v":2,"r":"another","d":{"digest":"` + descriptor(11).Digest.String() + `","size":1,` + mime + `}}`,
		`{"v":2,"e":"past","r":"` + run + `","d":{"digest":"` + descriptor(12).Digest.String() + `","size":1,` + mime + `}}`,
		`{"digest":"` + descriptor(13).Digest.String() + `","size":1,` + mime + `}`,
	} {
		d := descriptor(i)
		key := scope{cache: c}.key(d.Digest)
		if len(text) > 1<<16 {
			r.Do(t, "SETRANGE", key, "1048576", "x")
		} else {
			r.Do(t, "SET", key, text)
		}
		wantMiss(t, c, d)
		if _, ok := read(text, word, run, d.Digest); ok {
			t.Errorf("%q is believed", text)
		}
	}
	nothing := descriptor(14) // a blob of no bytes that is not the empty one
	r.Do(t, "SET", scope{cache: c}.key(nothing.Digest), `{"v":2,"e":"`+word+`","r":"`+run+`","d":{"digest":"`+nothing.Digest.String()+`","size":0,`+mime+`}}`)
	wantMiss(t, c, nothing)
	for _, i := range []int{1, 5, 10, 11, 12, 13} {
		set(t, c, descriptor(i))
		wantHit(t, c, descriptor(i))
	}
	d := descriptor(100)
	r.Do(t, "LPUSH", scope{cache: c}.key(d.Digest), "x")
	set(t, c, d)
	wantMiss(t, c, d)
	if err := c.Clear(t.Context(), d.Digest); err != nil {
		t.Fatal(err)
	}
	if c.Stats().Open || wordOf(t, c) != word {
		t.Error("a wrong value opened the breaker, or ended the epoch")
	}
}

func TestPrefix(t *testing.T) {
	s3 := func(endpoint, bucket, root string) string {
		return Prefix(configuration.Storage{"s3": {"regionendpoint": endpoint, "bucket": bucket, "rootdirectory": root}, "delete": {"enabled": true}})
	}
	same := s3("https://s3.example.com", "b", "r")
	for _, p := range []string{s3("https://S3.example.com/", "b", "/r/"), s3("https://s3.example.com:443", "b", "r"), s3("s3.example.com", "b", "r"),
		Prefix(configuration.Storage{"s3aws": {"regionendpoint": "https://s3.example.com", "bucket": "b", "rootdirectory": "r"}})} {
		if p != same {
			t.Errorf("%s and %s for one storage", p, same)
		}
	}
	seen := map[string]bool{same: true}
	for _, p := range []string{s3("", "b", "r"), s3("https://s3.example.com", "c", "r"), s3("https://s3.example.com", "b", ""), s3("https://s3.example.com", "b", "r/s"),
		s3("https://s3.example.com:9000", "b", "r"), s3("https://s3.example.com", "br", ""),
		Prefix(configuration.Storage{"filesystem": {"rootdirectory": "/a"}}), Prefix(configuration.Storage{"filesystem": {"rootdirectory": "/b"}}),
		Prefix(configuration.Storage{"inmemory": nil}), Prefix(configuration.Storage{"inmemory": nil})} {
		if seen[p] || !strings.HasPrefix(p, "redoubt:") {
			t.Errorf("%s is of two storages", p)
		}
		seen[p] = true
	}
}

// The word in the storage lies where neither upstream nor a scrub looks.
func TestEpochInTheStorage(t *testing.T) {
	r := real.Start(t, real.Options{})
	s := newSite(t)
	c, _ := s.node(t, r.Address, patient)
	ready(t, c)
	if err := c.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.root, "redoubt/state/cache-epoch")
	if data, err := os.ReadFile(path); err != nil || string(data) != wordOf(t, c) {
		t.Fatalf("%q, %v", data, err)
	}
	// One that cannot be a word is none.
	if err := os.WriteFile(path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	c.epoch.doubt()
	c.epoch.read(t.Context())
	if c.epoch.known.Load() != nil {
		t.Error("a word of 64 KiB is believed")
	}
}

// during is a storage in which something happens while it deletes.
type during struct {
	distribution.BlobDescriptorService
	f func()
}

func (d during) Clear(_ context.Context, dgst digest.Digest) error {
	if dgst != probe {
		d.f()
	}
	return nil
}

// Who reads the storage while it deletes caches what is going, and a flush takes
// the first tombstone away: the second says what is true.
func TestDeletionClearsBeforeAndAfter(t *testing.T) {
	r := real.Start(t, real.Options{})
	c, _ := newSite(t).node(t, r.Address, patient)
	ready(t, c)
	a, d := repository(t, c, "a"), descriptor(1)
	set(t, a, d)
	happened := false
	storage := during{f: func() {
		wantMiss(t, a, d)
		r.Do(t, "FLUSHALL")
		set(t, a, d)
		set(t, c, d)
		wantHit(t, a, d)
		happened = true
	}}
	service := deletions{}.BlobAccessController(cache.NewCachedBlobStatter(a, storage))
	if err := service.Clear(t.Context(), d.Digest); err != nil || !happened {
		t.Fatalf("%v, happened %v", err, happened)
	}
	wantMiss(t, a, d)
	wantMiss(t, c, d)
	set(t, a, d)
	wantMiss(t, a, d)
}

// When the network of all is back, nobody goes on in the epoch in which they
// lost it: one of them may have deleted since.
func TestNothingIsBelievedAfterAnOutage(t *testing.T) {
	r := real.Start(t, real.Options{})
	network := proxy.TCP(t, r.Address)
	s := newSite(t)
	one, _ := s.node(t, network.Address, patient)
	two, _ := s.node(t, network.Address, patient)
	ready(t, one, two)
	d := descriptor(1)
	for range 3 {
		set(t, one, d)
		wantHit(t, two, d)
		network.Cut()
		wantMiss(t, two, d)
		until(t, "the outage to be noticed", func() bool { wantMiss(t, two, d); return two.Stats().Open })
		if err := one.Clear(t.Context(), d.Digest); err != nil {
			t.Fatal(err)
		}
		network.Restore(t)
		until(t, "the end of the outage", func() bool {
			wantMiss(t, two, d)
			_, known := two.word()
			return known && !two.Stats().Open
		})
		wantMiss(t, two, d)
		ready(t, one)
		d = descriptor(int(d.Size) + 1)
	}
}
