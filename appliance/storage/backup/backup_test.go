//go:build integration

package backup_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/scrub"
	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
)

const large = 9 << 20

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(root string) driver.StorageDriver {
	return filesystem.New(filesystem.DriverParameters{RootDirectory: root, MaxThreads: 100})
}

func identity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	check(t, err)
	return id
}

// directory is a repository in a directory.
func directory(t testing.TB, root string, recipients ...age.Recipient) *backup.Repository {
	t.Helper()
	at, err := imagecopy.OpenDirectory(open(root), root)
	check(t, err)
	t.Cleanup(func() { at.Close() })
	return &backup.Repository{At: at, Recipients: recipients}
}

// state is what a machine keeps: one file.
func state(text string) func(*tar.Writer) error {
	return func(w *tar.Writer) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: backup.StatePrefix + "var/lib/redoubt/key", Mode: 0o600, Size: int64(len(text))}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(w, text)
		return err
	}
}

func source(images driver.StorageDriver) backup.Source {
	return backup.Source{Hostname: "registry.example.com", Machine: "one", Now: time.Now(), State: state("secret"), Images: images,
		Parallel: 4, Meter: &progress.Meter{}, Fault: func(string) {}}
}

// opened decrypts the newest snapshot, and returns what the machine kept.
func opened(t testing.TB, r *backup.Repository, id age.Identity) (*backup.Opened, string) {
	t.Helper()
	s, err := r.Find(context.Background(), "")
	check(t, err)
	kept := ""
	o, err := r.Open(context.Background(), s, []age.Identity{id}, func(h *tar.Header, content io.Reader) error {
		data, err := io.ReadAll(content)
		kept += h.Name + "=" + string(data)
		return err
	})
	check(t, err)
	return o, kept
}

// scrubbed reads all of the images and checks what every tag needs.
func scrubbed(t testing.TB, images driver.StorageDriver) scrub.Summary {
	t.Helper()
	s := &scrub.Scrub{Storage: images, Parallel: 4, Meter: &progress.Meter{}, Fault: func(f scrub.Fault) { t.Errorf("%s", f) }}
	sum, err := s.Run(context.Background())
	check(t, err)
	return sum
}

// restored copies the images of the newest snapshot into a new directory.
func restored(t testing.TB, r *backup.Repository, id age.Identity) string {
	t.Helper()
	o, _ := opened(t, r, id)
	root := t.TempDir()
	to, err := imagecopy.OpenDirectory(open(root), root)
	check(t, err)
	c := &imagecopy.Copy{From: o.Images, To: to, Parallel: 4, Meter: &progress.Meter{}, Fault: func(f imagecopy.Fault) { t.Errorf("%s", f) }}
	_, err = c.Run(context.Background())
	check(t, err)
	check(t, to.Close())
	return root
}

// files are those of the registry below root, with their content.
func files(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "docker"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(p, "/_uploads/") || strings.Contains(p, "/_redoubt") {
			return err
		}
		data, err := os.ReadFile(p)
		out[strings.TrimPrefix(p, root)] = string(data)
		return err
	})
	check(t, err)
	return out
}

func same(t testing.TB, a, b string) {
	t.Helper()
	one, other := files(t, a), files(t, b)
	if !maps.Equal(one, other) {
		t.Errorf("%d files and %d", len(one), len(other))
		for p := range one {
			if one[p] != other[p] {
				t.Errorf("%s is not the same", p)
			}
		}
	}
}

func TestADirectory(t *testing.T) {
	images, place, id := seed.Filled(t, large), t.TempDir(), identity(t)
	theTour(t, images, directory(t, place, id.Recipient()), id)
	check(t, filepath.WalkDir(place, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".age") {
			return err
		}
		data, err := os.ReadFile(p)
		if !strings.HasPrefix(string(data), "age-encryption.org/v1") || strings.Contains(string(data), "secret") {
			t.Errorf("%s can be read", p)
		}
		return err
	}))
}

func TestABucket(t *testing.T) {
	for _, store := range []*stores.Store{stores.MinIO(t), stores.Versity(t)} {
		id := identity(t)
		theTour(t, seed.Filled(t, large), &backup.Repository{At: imagecopy.Objects{StorageDriver: bucketOf(t, store)}, Recipients: []age.Recipient{id.Recipient()}}, id)
	}
}

// theTour takes snapshots and restores them: the second one has nothing to copy.
func theTour(t *testing.T, images string, r *backup.Repository, id age.Identity) {
	ctx := context.Background()
	if _, err := r.Find(ctx, ""); err == nil || !strings.Contains(err.Error(), "no snapshot") {
		t.Errorf("an empty place: %v", err)
	}
	for try := range 2 {
		taken, err := r.Take(ctx, source(open(images)))
		check(t, err)
		if first := try == 0; (taken.NewBlobs > 0) != first || len(taken.Faults) > 0 || len(taken.Blobs) == 0 {
			t.Errorf("run %d: %+v", try, taken)
		}
		if missing, err := r.Missing(ctx, taken.Snapshot); err != nil || len(missing) > 0 {
			t.Errorf("run %d: %v %v", try, missing, err)
		}
	}
	list, err := r.List(ctx)
	check(t, err)
	if len(list) != 2 || list[0].Name >= list[1].Name || list[0].Hostname != "registry.example.com" {
		t.Errorf("%+v", list)
	}
	o, kept := opened(t, r, id)
	if kept != "var/lib/redoubt/key=secret" {
		t.Errorf("kept %q", kept)
	}
	if sum := scrubbed(t, o.Images); sum.Tags < int64(len(seed.Tags)) {
		t.Errorf("%+v", sum)
	}
	root := restored(t, r, id)
	same(t, images, root)
	registry := seed.Serve(t, seed.Directory(root))
	for _, tag := range seed.Tags {
		check(t, registry.Pull(t, tag))
	}
	other := identity(t)
	if _, err := r.Open(ctx, list[0], []age.Identity{other}, nil); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("another key: %v", err)
	}
}

// Of many snapshots some stay, with all that they need and nothing else.
func TestPrune(t *testing.T) {
	images, id, ctx := seed.Filled(t, large), identity(t), context.Background()
	r := directory(t, t.TempDir(), id.Recipient())
	_, err := r.Take(ctx, source(open(images)))
	check(t, err)
	registry := seed.Serve(t, seed.Directory(images))
	registry.Push(t, "team/app:1", seed.Image(t, 1<<10, 2)) // the one before stays without a tag
	check(t, os.RemoveAll(filepath.Join(images, "docker/registry/v2/repositories/large")))
	for range 2 {
		_, err = r.Take(ctx, source(open(images)))
		check(t, err)
	}
	soon, err := r.Prune(ctx, 2, time.Now())
	check(t, err)
	if soon.Snapshots != 1 || soon.Blobs != 0 {
		t.Errorf("at once: %+v", soon)
	}
	later, err := r.Prune(ctx, 2, time.Now().Add(8*24*time.Hour))
	check(t, err)
	if later.Snapshots != 0 || later.Blobs == 0 || later.Bytes < large {
		t.Errorf("a week later: %+v", later)
	}
	o, _ := opened(t, r, id)
	scrubbed(t, o.Images)
	links := func(root string) map[string]string {
		all := files(t, root)
		maps.DeleteFunc(all, func(p, _ string) bool { return strings.Contains(p, "/blobs/") })
		return all
	}
	if !maps.Equal(links(images), links(restored(t, r, id))) {
		t.Error("other links were restored")
	}
}

// What is damaged at the place is found: without the key as far as sizes tell, with it all.
func TestDamage(t *testing.T) {
	images, id, place, ctx := seed.Filled(t, large), identity(t), t.TempDir(), context.Background()
	r := directory(t, place, id.Recipient())
	taken, err := r.Take(ctx, source(open(images)))
	check(t, err)
	sealed, err := filepath.Glob(place + "/blobs/sha256/*/*.age")
	check(t, err)
	slices.Sort(sealed)
	check(t, os.Truncate(sealed[0], 100))
	check(t, os.Remove(sealed[1]))
	data, err := os.ReadFile(sealed[2])
	check(t, err)
	data[len(data)-1] ^= 1
	check(t, os.WriteFile(sealed[2], data, 0o600))
	missing, err := r.Missing(ctx, taken.Snapshot)
	check(t, err)
	if len(missing) != 2 {
		t.Errorf("without the key: %q", missing)
	}
	o, _ := opened(t, r, id)
	found := map[string]bool{}
	s := &scrub.Scrub{Storage: o.Images, Parallel: 4, Meter: &progress.Meter{}, Fault: func(f scrub.Fault) { found[string(f.Digest)] = true }}
	_, err = s.Run(ctx)
	check(t, err)
	for _, p := range sealed[:3] {
		hex, _, _ := strings.Cut(filepath.Base(p), ".")
		if !found["sha256:"+hex] {
			t.Errorf("with the key %s is not found", hex)
		}
	}
	// The next run puts there again what is not whole.
	again, err := r.Take(ctx, source(open(images)))
	check(t, err)
	if again.NewBlobs != 2 {
		t.Errorf("%d blobs again", again.NewBlobs)
	}
	archive := filepath.Join(place, "snapshots", again.Name+".age")
	check(t, os.WriteFile(archive, []byte("age-encryption.org/v1"), 0o600))
	if _, err := r.Open(ctx, again.Snapshot, []age.Identity{id}, nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged archive: %v", err)
	}
}

// While images are pushed and deleted, each snapshot has all that its tags need.
func TestWhilePushesGoOn(t *testing.T) {
	images, id, ctx := seed.Filled(t, 1<<20), identity(t), context.Background()
	r := directory(t, t.TempDir(), id.Recipient())
	registry := seed.Serve(t, seed.Directory(images))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				registry.Push(t, fmt.Sprintf("busy/app:%d", i%5), seed.Image(t, 1<<14, 3))
			}
		}
	}()
	for range 5 {
		taken, err := r.Take(ctx, source(open(images)))
		check(t, err)
		if len(taken.Faults) > 0 {
			t.Errorf("%q", taken.Faults)
		}
		o, _ := opened(t, r, id)
		scrubbed(t, o.Images)
	}
	close(stop)
	<-done
}

// A run that is killed leaves no half snapshot, and the next one goes on.
func TestKilled(t *testing.T) {
	images, id, place := seed.Filled(t, large), identity(t), t.TempDir()
	for try := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChild$")
		cmd.Env = append(os.Environ(), "REDOUBT_IMAGES="+images, "REDOUBT_PLACE="+place, "REDOUBT_RECIPIENT="+id.Recipient().String())
		check(t, cmd.Start())
		time.Sleep(time.Duration(try*25) * time.Millisecond)
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		r := directory(t, place, id.Recipient())
		list, err := r.List(context.Background())
		check(t, err)
		for _, s := range list {
			if missing, err := r.Missing(context.Background(), s); err != nil || len(missing) > 0 {
				t.Errorf("try %d: %q %v", try, missing, err)
			}
		}
		check(t, r.At.(*imagecopy.Directory).Close())
	}
	r := directory(t, place, id.Recipient())
	_, err := r.Take(context.Background(), source(open(images)))
	check(t, err)
	o, _ := opened(t, r, id)
	scrubbed(t, o.Images)
}

// TestKilledChild is what TestKilled kills.
func TestKilledChild(t *testing.T) {
	images := os.Getenv("REDOUBT_IMAGES")
	if images == "" {
		return
	}
	recipient, err := age.ParseX25519Recipient(os.Getenv("REDOUBT_RECIPIENT"))
	check(t, err)
	_, err = directory(t, os.Getenv("REDOUBT_PLACE"), recipient).Take(context.Background(), source(open(images)))
	check(t, err)
}

// A place that is full says so, keeps the snapshots that it has, and goes on when there
// is room.
func TestFull(t *testing.T) {
	images, id, ctx := seed.Filled(t, large), identity(t), context.Background()
	place := filepath.Join(t.TempDir(), "place")
	check(t, os.Mkdir(place, 0o755))
	stores.Limit(t, place, 32<<20)
	r := directory(t, place, id.Recipient())
	first, err := r.Take(ctx, source(open(images)))
	check(t, err)
	fill := stores.Fill(t, place, 1<<20)
	seed.Serve(t, seed.Directory(images)).Push(t, "large:2", seed.Image(t, 4<<20, 1))
	if _, err := r.Take(ctx, source(open(images))); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("full: %v", err)
	}
	if list, err := r.List(ctx); err != nil || len(list) != 1 || list[0].Name != first.Name {
		t.Errorf("full: %+v %v", list, err)
	}
	check(t, os.Remove(fill))
	_, err = r.Take(ctx, source(open(images)))
	check(t, err)
	o, _ := opened(t, r, id)
	scrubbed(t, o.Images)
	same(t, images, restored(t, r, id))
}
