//go:build integration

package appliance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// image makes what a storage has of a tag.
func (b *box) image(root, repository, tag string) {
	b.Helper()
	dir := root + "/docker/registry/v2/repositories/" + repository + "/"
	b.put(dir+"_manifests/tags/"+tag+"/current/link", "sha256:"+strings.Repeat("0", 64))
	b.put(dir+"_manifests/revisions/sha256/"+strings.Repeat("0", 64)+"/link", "sha256:"+strings.Repeat("0", 64))
	b.put(dir+"_layers/sha256/"+strings.Repeat("1", 64)+"/link", "sha256:"+strings.Repeat("1", 64))
}

func (b *box) applyWith(o appliance.Options) error {
	b.out.Reset()
	b.registry.calls = nil
	return b.machine().Apply(b.Context(), o)
}

func directoryAt(root string) string { return good + "  storage: {filesystem: {root: " + root + "}}\n" }

// A change of the storage that hides images is refused, at a boot as well, and what served
// goes on serving; the plan says it in any case.
func TestStorageThatHidesImagesIsRefused(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.image("var/lib/redoubt/registry", "team/app", "1")
	b.image("var/lib/redoubt/registry", "tools", "latest")
	b.userData(directoryAt("/srv/images"))
	before := b.snapshot()
	const line = "storage: a directory with 2 repositories → a directory, empty\n"
	for name, o := range map[string]appliance.Options{"the plan": {DryRun: true}, "the apply": {}} {
		err := b.applyWith(o)
		b.wantError(err, "the last good configuration serves", "user-data:", "storage.filesystem.root", "2 images would be hidden: team/app:1, tools:latest",
			"storage.acceptEmpty: true", "redoubt apply --accept-empty-storage")
		if !strings.Contains(b.out.String(), line) {
			t.Errorf("%s does not say it:\n%s", name, &b.out)
		}
		if strings.Contains(b.out.String(), "nothing to do") {
			t.Errorf("%s reads as if it were accepted:\n%s", name, &b.out)
		}
		b.wantCalls("")
		if after := b.snapshot(); after != before {
			t.Errorf("%s changed something", name)
		}
	}
	b.reboot()
	b.wantError(b.apply(), "would be hidden")
	if !strings.Contains(b.get("run/redoubt/registry.yml"), "rootdirectory: /var/lib/redoubt/registry") {
		t.Error("after a boot the other storage is taken up")
	}
	if err := b.applyWith(appliance.Options{AcceptEmptyStorage: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.out.String(), line) || !strings.Contains(b.get("run/redoubt/registry.yml"), "rootdirectory: /srv/images") {
		t.Errorf("it was accepted:\n%s", &b.out)
	}
	b.reboot()
	b.mustApply() // once is enough
	if strings.Contains(b.out.String(), "storage:") {
		t.Errorf("nothing changes:\n%s", &b.out)
	}
}

// A change is taken up where nothing is lost, or where the document accepts it.
func TestStorageThatMayBeTakenUp(t *testing.T) {
	for name, c := range map[string]struct {
		before, after [][2]string // repository and tag
		document      string
		line, refused string
	}{
		"nothing was there": {nil, nil, "", "a directory, empty → a directory, empty", ""},
		"all were copied":   {[][2]string{{"app", "1"}}, [][2]string{{"app", "1"}, {"app", "2"}}, "", "a directory with 1 repository → a directory with 1 repository", ""},
		"a tag is missing":  {[][2]string{{"app", "1"}, {"app", "2"}}, [][2]string{{"app", "1"}}, "", "a directory with 1 repository → a directory with 1 repository", "an image would be hidden: app:2"},
		"many are missing": {[][2]string{{"app", "1"}, {"app", "2"}, {"app", "3"}, {"b", "4"}}, nil, "",
			"a directory with 2 repositories → a directory, empty", "4 images would be hidden, such as app:1, app:2, app:3"},
		"it is accepted": {[][2]string{{"app", "1"}}, nil, "acceptEmpty: true, ", "a directory with 1 repository → a directory, empty", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.userData(good)
			b.mustApply()
			for _, i := range c.before {
				b.image("var/lib/redoubt/registry", i[0], i[1])
			}
			for _, i := range c.after {
				b.image("srv/images", i[0], i[1])
			}
			b.userData(good + "  storage: {" + c.document + "filesystem: {root: /srv/images}}\n")
			err := b.apply()
			if c.refused == "" && err != nil {
				t.Error(err)
			}
			if c.refused != "" {
				b.wantError(err, c.refused)
			}
			if !strings.Contains(b.out.String(), "storage: "+c.line+"\n") {
				t.Errorf("the plan:\n%s", &b.out)
			}
		})
	}
}

// What cannot be read may have images.
func TestStorageThatCannotBeRead(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.put("var/lib/redoubt/registry/docker/registry/v2/repositories/app/_manifests", "no directory")
	if err := os.MkdirAll(filepath.Join(b.root, "srv/images"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.userData(directoryAt("/srv/images"))
	b.wantError(b.apply(), "it cannot be told whether images would be hidden")
	b.image("srv/images", "app", "1")
	b.mustApply()
}

// The same holds of buckets, of a prefix in a bucket, and of the way back.
func TestBucketThatHidesImagesIsRefused(t *testing.T) {
	s := stores.Versity(t)
	one, two := s.NewBucket(t), s.NewBucket(t)
	b := newBox(t)
	b.userData(good + "  cache: {type: memory}\n")
	b.mustApply()
	b.image("var/lib/redoubt/registry", "team/app", "1")
	b.image("var/lib/redoubt/registry", "tools", "latest")
	refused := func(document, line, at string) {
		t.Helper()
		b.userData(document)
		for _, o := range []appliance.Options{{DryRun: true}, {}} {
			b.wantError(b.applyWith(o), "would be hidden", at)
			b.wantCalls("")
			if !strings.Contains(b.out.String(), "storage: "+line+"\n") {
				t.Errorf("the plan:\n%s", &b.out)
			}
		}
	}
	refused(bucketOf(s, one), "a directory with 2 repositories → bucket, empty", "storage.s3")
	if err := b.applyWith(appliance.Options{AcceptEmptyStorage: true}); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(s.Data, one, "docker/registry/v2/repositories/app/_manifests/tags/1/current/link")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(link, []byte("sha256:"+strings.Repeat("0", 64)), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(bucketOf(s, two), "bucket with 1 repository → bucket, empty", "storage.s3")
	refused(bucketOf(s, one, "root", "other"), "bucket with 1 repository → bucket, empty", "storage.s3")
	refused(good+"  cache: {type: memory}\n", "bucket with 1 repository → a directory with 2 repositories", "an image would be hidden: app:1")
	b.userData(bucketOf(s, one) + "  log: {level: warn}\n") // the same bucket
	b.mustApply()
	if strings.Contains(b.out.String(), "storage:") {
		t.Errorf("the same storage:\n%s", &b.out)
	}
	b.reboot()
	b.userData(bucketOf(s, two))
	b.wantError(b.apply(), "an image would be hidden: app:1")
	if y := b.get("run/redoubt/registry.yml"); !strings.Contains(y, "bucket: "+one) {
		t.Errorf("after a boot:\n%s", y)
	}
}
