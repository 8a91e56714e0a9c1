// Package backup keeps snapshots of a machine at a place that nobody has to trust: what
// the machine keeps, and its images, encrypted to recipients of age
// (https://age-encryption.org/v1). Blobs never change, so that only new ones go there;
// the machine itself cannot read what it has put there.
//
// A place has one file for each blob, blobs/ALGORITHM/XX/HEX.SIZE.age, under the digest
// and the size of its content, and two for each snapshot: snapshots/NAME.age is a tar
// archive, compressed by gzip, of what the machine keeps (state/) and of the links of its
// repositories (images/); snapshots/NAME.json says what it needs, for who has no key. The
// last of them is written last: what has none is no snapshot.
package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Where things are at a place.
const (
	blobs     = "/blobs"
	snapshots = "/snapshots"
)

// formatVersion is that of the place; another one is refused.
const formatVersion = 1

// Repository is a place with snapshots. One process at a time may change it.
type Repository struct {
	At         imagecopy.Target
	Recipients []age.Recipient // who can read what is put there
	// Beat is called often while something is under way: an error ends it. nil: never.
	Beat func(context.Context) error
}

// Snapshot is what can be known of one without a key.
type Snapshot struct {
	Version  int       `json:"version"`
	Name     string    `json:"name"`
	Taken    time.Time `json:"taken"`
	Hostname string    `json:"hostname"`
	Machine  string    `json:"machine"` // tells machines apart
	Images   bool      `json:"images"`  // whether it has those of the registry
	SHA256   string    `json:"sha256"`  // of the encrypted archive, in hexadecimal
	Size     int64     `json:"size"`    // of the encrypted archive, in bytes
	Blobs    []Blob    `json:"blobs"`   // that its images need, sorted
	// Faults are what of the images could not be read; all else is there.
	Faults []string `json:"faults,omitempty"`
}

// Blob is one that a snapshot needs.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // of its content, in bytes
}

// Bytes are those of all blobs together.
func (s Snapshot) Bytes() int64 {
	var n int64
	for _, b := range s.Blobs {
		n += b.Size
	}
	return n
}

func (b Blob) path() string {
	hex := b.Digest.Encoded()
	return fmt.Sprintf("%s/%s/%s/%s.%d.age", blobs, b.Digest.Algorithm(), hex[:2], hex, b.Size)
}

var blobName = regexp.MustCompile(`^/blobs/([a-z0-9]+)/([0-9a-f]{2})/([0-9a-f]+)\.([0-9]{1,18})\.age$`)

func blobAt(p string) (Blob, bool) {
	m := blobName.FindStringSubmatch(p)
	if m == nil || !strings.HasPrefix(m[3], m[2]) {
		return Blob{}, false
	}
	dgst := digest.NewDigestFromEncoded(digest.Algorithm(m[1]), m[3])
	size, err := strconv.ParseInt(m[4], 10, 64)
	return Blob{dgst, size}, err == nil && dgst.Validate() == nil
}

// snapshotName is made of the time, so that names sort as times do.
var snapshotName = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z(-[0-9]+)?$`)

func archivePath(name string) string { return path.Join(snapshots, name+".age") }
func indexPath(name string) string   { return path.Join(snapshots, name+".json") }

// List returns the snapshots that there are, the oldest first.
func (r *Repository) List(ctx context.Context) ([]Snapshot, error) {
	children, err := r.At.List(ctx, snapshots)
	if err != nil && !layout.Missing(err) {
		return nil, fmt.Errorf("cannot list the snapshots: %w", err)
	}
	var out []Snapshot
	for _, child := range children {
		name, ok := strings.CutSuffix(path.Base(child), ".json")
		if !ok || !snapshotName.MatchString(name) {
			continue
		}
		s, err := r.read(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Snapshot) int { return cmp.Or(a.Taken.Compare(b.Taken), strings.Compare(a.Name, b.Name)) })
	return out, nil
}

func (r *Repository) read(ctx context.Context, name string) (Snapshot, error) {
	var s Snapshot
	data, err := r.At.GetContent(ctx, indexPath(name))
	if err != nil {
		return s, fmt.Errorf("cannot read the snapshot %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Name != name {
		return s, fmt.Errorf("cannot read the snapshot %s: its index is damaged; remove %s.json at the place of the backup to go on without it", name, name)
	}
	if s.Version != formatVersion {
		return s, fmt.Errorf("cannot read the snapshot %s: it has version %d of the format, and this program knows %d; use a newer one", name, s.Version, formatVersion)
	}
	for _, b := range s.Blobs {
		if b.Digest.Validate() != nil || b.Size < 0 {
			return s, fmt.Errorf("cannot read the snapshot %s: its index is damaged", name)
		}
	}
	return s, nil
}

// Find returns the snapshot called name, or the newest one for an empty name.
func (r *Repository) Find(ctx context.Context, name string) (Snapshot, error) {
	list, err := r.List(ctx)
	switch {
	case err != nil:
		return Snapshot{}, err
	case len(list) == 0:
		return Snapshot{}, errors.New("there is no snapshot at this place")
	case name == "":
		return list[len(list)-1], nil
	}
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
	}
	return Snapshot{}, fmt.Errorf("there is no snapshot %s: redoubt backup list names those that there are", name)
}

// stored gives the encrypted size of each blob at the place.
func (r *Repository) stored(ctx context.Context) (map[Blob]driver.FileInfo, error) {
	out := map[Blob]driver.FileInfo{}
	err := layout.Walk(ctx, r.At, blobs, func(info driver.FileInfo) error {
		if b, ok := blobAt(info.Path()); ok {
			out[b] = info
		}
		return r.beat(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list what is at the place of the backup: %w", err)
	}
	return out, nil
}

func (r *Repository) beat(ctx context.Context) error {
	if r.Beat == nil {
		return ctx.Err()
	}
	return r.Beat(ctx)
}
