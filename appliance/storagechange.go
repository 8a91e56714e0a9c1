package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/contents"
	bucketdriver "github.com/redoubt-registry/redoubt/appliance/storage/driver"
)

const (
	// compareTimeout is for looking through the storage before and the one to be.
	compareTimeout = 30 * time.Second
	// compareMemory and compareSpool are for uploads, of which there are none.
	compareMemory = 1 << 20
	compareSpool  = "/tmp"
)

// storagePlace is where images lie.
type storagePlace struct {
	kind string // for people: a directory, bucket
	name string // for people: which one
	id   string // the same for the same place
	key  string // of the configuration
}

// placeOf is the place that a registry.yml names. It is empty for a kind of storage that
// only tests use.
func placeOf(registry []byte) storagePlace {
	c, err := registryyml.Read(registry)
	if err != nil {
		return storagePlace{}
	}
	switch params := c.Storage.Parameters(); c.Storage.Type() {
	case "filesystem":
		root := path.Clean(fmt.Sprint(params["rootdirectory"]))
		return storagePlace{kind: "a directory", name: root, id: root, key: "storage.filesystem.root"}
	case "s3", "s3aws":
		delete(params, "cabundle") // which may not be written yet
		s, err := bucket.FromParameters(params)
		if err != nil {
			return storagePlace{}
		}
		at := s.Endpoint
		if at == "" {
			at = s.Region
		}
		name := path.Join(s.Bucket, s.Root)
		return storagePlace{kind: "bucket", name: name + " at " + at, id: at + " " + name, key: "storage.s3"}
	}
	return storagePlace{}
}

// place is where t keeps images.
func (t target) place() storagePlace {
	f, _ := t.files.Lookup(paths.RegistryYML)
	return placeOf(f.Data)
}

// guardStorage says what another storage than the one that the machine has served from
// means, and refuses it if images that clients had would be gone, unless that is accepted.
func (m *Machine) guardStorage(ctx context.Context, c choice, accepted bool) (choice, error) {
	if !c.asked || c.lastGood == nil {
		return c, nil
	}
	before, err := m.rebuild(c.lastGood)
	if err != nil { // such as a secret that is no longer there
		before.files = m.present().files
	}
	from, to := before.place(), c.place()
	if to.id == "" || from == to {
		return c, nil
	}
	change := m.compareStorage(ctx, before, c.target)
	kind := from.kind
	if kind == "" {
		kind, change.From.Err = "the storage before", errors.New("its configuration cannot be used any more")
	}
	fmt.Fprintf(m.Out, "storage: %s%s → %s%s\n         %s → %s\n", kind, change.From, to.kind, change.To, from.name, to.name)
	if !change.Hides() || accepted || c.cfg.Storage.AcceptEmpty {
		return c, nil
	}
	return m.instead(c, c.cfg, entries(secrets.Problem{Path: keyIn(c.origins, to.key), Err: errors.New(refusal(change, to))}, c.origins))
}

// keyIn is key, or what stands above it, where the configuration has it.
func keyIn(origins config.Origins, key string) string {
	for ; key != ""; key = key[:max(0, strings.LastIndex(key, "."))] {
		if _, ok := origins[key]; ok {
			return key
		}
	}
	return "storage"
}

// refusal says what would be hidden, and what to do.
func refusal(c contents.Change, to storagePlace) string {
	const shown = 3
	what := "it cannot be told whether images would be hidden"
	switch n := len(c.Hidden); {
	case n > shown:
		what = fmt.Sprintf("%d images would be hidden, such as %s", n, strings.Join(c.Hidden[:shown], ", "))
	case n > 1:
		what = fmt.Sprintf("%d images would be hidden: %s", n, strings.Join(c.Hidden, ", "))
	case n == 1:
		what = "an image would be hidden: " + c.Hidden[0]
	}
	return fmt.Sprintf("%s: the storage would be %s%s (%s). Copy them there first (redoubt storage copy), "+
		"or accept that with storage.acceptEmpty: true, or for once with: redoubt apply --accept-empty-storage", what, to.kind, c.To, to.name)
}

// compareStorage looks through both storages.
func (m *Machine) compareStorage(ctx context.Context, before, after target) contents.Change {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	from, fromErr := m.openStorage(ctx, before)
	to, toErr := m.openStorage(ctx, after)
	c := contents.Compare(ctx, from, to)
	c.From.Err, c.To.Err = plainly(cmp.Or(fromErr, c.From.Err)), plainly(cmp.Or(toErr, c.To.Err))
	return c
}

// plainly is an error of a storage in the words of its key, where it has some.
func plainly(err error) error {
	if p := bucket.Explain(err); err != nil && p != nil {
		return fmt.Errorf("%s: %s", p.Key, p.Message)
	}
	return err
}

// openStorage opens the storage of t, whose files need not be written.
func (m *Machine) openStorage(ctx context.Context, t target) (driver.StorageDriver, error) {
	place := t.place()
	if place.kind == "a directory" {
		return filesystem.FromParameters(map[string]any{"rootdirectory": filepath.Join(m.Root, place.name)})
	}
	if place.kind == "" || t.cfg.Storage.S3 == nil {
		return nil, errors.New("its configuration cannot be used")
	}
	b, err := m.openBucket(ctx, t)
	if err != nil {
		return nil, err
	}
	return bucketdriver.New(b, bucket.NewBuffers(compareMemory, compareSpool)), nil
}
