package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/directory"
	"github.com/redoubt-registry/redoubt/appliance/storage/inventory"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// ImageName is an image of a repository, by a tag or a digest.
type ImageName struct {
	Repository string
	Tag        string
	Digest     digest.Digest
}

func (n ImageName) String() string {
	if n.Digest != "" {
		return n.Repository + "@" + n.Digest.String()
	}
	return n.Repository + ":" + n.Tag
}

// MountOptions are what the caller of MountImage chooses.
type MountOptions struct {
	ImageOptions
	From       ImageName
	Repository string
	Tags       []string // that point to the image then; none: it is there by its digest alone
	Referrers  bool     // whether what refers to the image comes too: signatures and the like
	New        bool     // tags that point to another image are left, and none is written
	Rules      string   // file with the rules of immutable tags; empty: the machine's
}

// mounted is what was done, as it is told.
type mounted struct {
	Repository string        `json:"repository"`
	Tags       []string      `json:"tags,omitempty"`
	Digest     digest.Digest `json:"digest"`
	Manifests  int           `json:"manifests"`
	Blobs      int           `json:"blobs"`
}

// MountImage makes an image one of another repository, or gives it other tags. No bytes
// are moved.
func MountImage(ctx context.Context, finder imagestore.Finder, o MountOptions) error {
	place, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	rules, err := o.immutable()
	if err != nil {
		return err
	}
	if err := become(place.Root); err != nil {
		return err
	}
	if place.Root != "" { // it can create a tag that is not there, and not replace one
		place.Driver = directory.New(place.Driver, place.Root, directory.NewUploads())
	}
	done, err := o.mount(ctx, place, rules)
	o.note(done, err)
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", o.From, err)
	}
	if o.JSON {
		return json.NewEncoder(o.Result).Encode(done)
	}
	_, err = fmt.Fprintf(o.Result, "%s is %s: %d manifests, %d blobs, none of them copied\n", o.names(), done.Digest, done.Manifests, done.Blobs)
	return err
}

// names are what the image is called then.
func (o MountOptions) names() string {
	if len(o.Tags) == 0 {
		return o.Repository
	}
	return o.Repository + ":" + strings.Join(o.Tags, ",")
}

// mount does it: the tags come last.
func (o MountOptions) mount(ctx context.Context, place *imagestore.Place, rules immutable.Rules) (done mounted, err error) {
	d := trash.Driver(place.Driver)
	to := mount.Target{Storage: d, Repository: o.Repository, Ensure: trash.Guarding(place.Driver, trash.Least).Ensure}
	done = mounted{Repository: o.Repository, Tags: o.Tags, Digest: o.From.Digest}
	if done.Digest == "" {
		if done.Digest, err = (mount.Target{Storage: d, Repository: o.From.Repository}).Have(ctx, o.From.Tag); err != nil {
			return done, err
		}
		if done.Digest == "" {
			return done, errors.New("there is no such image; redoubt images list shows what is")
		}
	}
	if err := o.mayTag(ctx, to, done.Digest, rules); err != nil {
		return done, err
	}
	from := mount.Source{Storage: d, Repository: o.From.Repository}
	if o.Referrers {
		repo, err := inventory.Reader{Storage: place.Driver, Parallel: parallelReads}.Repository(ctx, o.From.Repository)
		if err != nil {
			return done, err
		}
		from.Referrers = func(_ context.Context, subject digest.Digest) ([]digest.Digest, error) {
			return repo.Referrers[subject], nil
		}
	}
	list, err := from.Find(ctx, done.Digest)
	if err != nil {
		return done, err
	}
	blobs := map[digest.Digest]bool{}
	for _, m := range list {
		for _, b := range m.Blobs {
			blobs[b.Digest] = true
		}
	}
	done.Manifests, done.Blobs = len(list), len(blobs)
	if o.Repository != o.From.Repository {
		if err := to.Blobs(ctx, o.From.Repository, list); err != nil {
			return done, err
		}
	}
	if err := o.countMounted(ctx, place, list); err != nil {
		return done, err
	}
	// In the same repository too: nothing may have held the image for long.
	if err := to.Manifests(ctx, o.From.Repository, list); err != nil {
		return done, err
	}
	return done, o.tag(ctx, to, list, done.Digest, rules)
}

// mayTag refuses before anything is written what could not be tagged then.
func (o MountOptions) mayTag(ctx context.Context, to mount.Target, dgst digest.Digest, rules immutable.Rules) error {
	for _, tag := range o.Tags {
		have, err := to.Have(ctx, tag)
		if err != nil {
			return err
		}
		if have != "" && have != dgst && (o.New || rules.Holds(o.Repository, tag)) {
			return o.taken(&mount.Taken{Tag: tag, Have: have}, rules)
		}
	}
	return nil
}

// taken says what to do about a tag of another image.
func (o MountOptions) taken(t *mount.Taken, rules immutable.Rules) error {
	if rules.Holds(o.Repository, t.Tag) {
		return fmt.Errorf("%w, and is immutable: choose another tag, or delete it first with redoubt images delete %s:%s", t, o.Repository, t.Tag)
	}
	return fmt.Errorf("%w: choose another tag, or use redoubt images copy, which replaces it", t)
}

// tag writes the tags: those of signatures that are not there, and then those that were
// asked for.
func (o MountOptions) tag(ctx context.Context, to mount.Target, list []mount.Manifest, dgst digest.Digest, rules immutable.Rules) error {
	for _, m := range list {
		if m.Tag == "" {
			continue
		}
		if err := to.Tag(ctx, m.Tag, m.Digest, true); err != nil && !errors.As(err, new(*mount.Taken)) {
			return err
		}
	}
	for _, tag := range o.Tags {
		err := to.Tag(ctx, tag, dgst, o.New || rules.Holds(o.Repository, tag))
		if t, ok := errors.AsType[*mount.Taken](err); ok {
			return o.taken(t, rules)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// immutable are the rules of the registry for its own storage.
func (o MountOptions) immutable() (immutable.Rules, error) {
	path := o.Rules
	switch {
	case path == "" && o.Storage != imagestore.Configured:
		return immutable.Rules{}, nil
	case path == "":
		path = paths.Retention
	}
	rules, err := readRules(path)
	if err != nil {
		return immutable.Rules{}, err
	}
	return immutable.New(rules.Immutable)
}

// note writes down what was done in the storage of the registry.
func (o MountOptions) note(done mounted, failed error) {
	e := audit.Event{Action: audit.Push, Kind: "manifest", Repository: o.Repository, Tag: strings.Join(o.Tags, ","), Digest: done.Digest.String()}
	if o.Repository != o.From.Repository {
		e.From = o.From.Repository
	}
	noteEvent(o.Root, o.Storage, e, failed)
}

// Valid tells whether o names a repository and tags as the registry takes them.
func (o MountOptions) Valid() error {
	if !layout.ValidRepository(o.Repository) {
		return fmt.Errorf("cannot use %q: it is no name of a repository, such as team/app", o.Repository)
	}
	for _, tag := range o.Tags {
		if !layout.ValidTag(tag) {
			return fmt.Errorf("cannot use the tag %q: it has at most 128 characters of A-Z, a-z, 0-9, . _ and -, and begins with none of . and -", tag)
		}
	}
	return nil
}
