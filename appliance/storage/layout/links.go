package layout

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// The parts of a repository that hold links.
const (
	Layers    = "_layers"
	Revisions = "_manifests/revisions"
	Tags      = "_manifests/tags"
)

// Referrers is the part of a repository that says what refers to a manifest. It is
// ours: the stock registry passes it over, and it can be made again from the manifests.
const Referrers = "_manifests/referrers"

// ReferrersPath is the directory of what refers to a subject, with one file for each.
func ReferrersPath(repository string, subject digest.Digest) string {
	return fmt.Sprintf("%s/%s/%s/%s/%s", Repositories, repository, Referrers, subject.Algorithm(), subject.Encoded())
}

// ReferrerPath is the file of one that refers to a subject.
func ReferrerPath(repository string, subject, referrer digest.Digest) string {
	return fmt.Sprintf("%s/%s-%s", ReferrersPath(repository, subject), referrer.Algorithm(), referrer.Encoded())
}

// ReferrerAt is the digest that the name of a referrer's file says.
func ReferrerAt(p string) (digest.Digest, bool) {
	algorithm, hex, _ := strings.Cut(path.Base(p), "-")
	return encoded(algorithm, hex)
}

// ReferrersWhole is the file that says that all manifests of a repository were looked
// at for what they refer to.
func ReferrersWhole(repository string) string {
	return fmt.Sprintf("%s/%s/%s/whole", Repositories, repository, Referrers)
}

// FallbackTag is the tag of the list of referrers that clients keep themselves where
// a registry has none (OCI distribution specification, "Referrers Tag Schema").
func FallbackTag(subject digest.Digest) string {
	const most = 128 // letters of a tag
	tag := subject.Algorithm().String() + "-" + subject.Encoded()
	return tag[:min(len(tag), most)]
}

// Link is a file that holds a digest.
type Link struct {
	Path   string
	Digest digest.Digest // in its path; a tag's current link has none
	Tag    string        // of the part Tags alone
	// Modified is when it was written last.
	Modified time.Time
}

// Current tells whether l is what a tag points to now.
func (l Link) Current() bool { return l.Tag != "" && l.Digest == "" }

// LinkPath is where a repository's link of a part to a digest is.
func LinkPath(repository, part string, dgst digest.Digest) string {
	return fmt.Sprintf("%s/%s/%s/%s/%s/link", Repositories, repository, part, dgst.Algorithm(), dgst.Encoded())
}

// TagPath is where a tag of a repository is.
func TagPath(repository, tag string) string {
	return fmt.Sprintf("%s/%s/%s/%s/current/link", Repositories, repository, Tags, tag)
}

// TaggedPath is where a tag of a repository keeps that it has pointed to a digest.
func TaggedPath(repository, tag string, dgst digest.Digest) string {
	return fmt.Sprintf("%s/%s/%s/%s/index/%s/%s/link", Repositories, repository, Tags, tag, dgst.Algorithm(), dgst.Encoded())
}

// EachRepository calls f with the name of each repository, in the order of their
// directories.
func EachRepository(ctx context.Context, d driver.StorageDriver, f func(name string) error) error {
	return eachRepository(ctx, d, Repositories, f)
}

func eachRepository(ctx context.Context, d driver.StorageDriver, dir string, f func(name string) error) error {
	const deepest = len(Repositories) + 256 // a repository's name is no longer
	if len(dir) > deepest {
		return nil
	}
	children, err := list(ctx, d, dir)
	if err != nil {
		if info, statErr := d.Stat(ctx, dir); statErr == nil && !info.IsDir() {
			return nil // a file that is no part of the layout
		}
		return fmt.Errorf("cannot list %s: %w", dir, err)
	}
	var found bool
	for _, child := range children {
		base := path.Base(child)
		found = found || base == "_layers" || base == "_manifests"
	}
	if found && dir != Repositories {
		if err := f(below(Repositories, dir)); err != nil {
			return err
		}
	}
	for _, child := range children {
		if !name.MatchString(path.Base(child)) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := eachRepository(ctx, d, child, f); err != nil {
			return err
		}
	}
	return nil
}

// EachLink calls f for each link of one part of a repository, and other for the files
// there that are no links. A link may come twice.
func EachLink(ctx context.Context, d driver.StorageDriver, repository, part string, f func(Link) error, other func(path string)) error {
	dir := Repositories + "/" + repository + "/" + part
	var failed error
	err := Walk(ctx, d, dir, func(info driver.FileInfo) error {
		if l, ok := linkAt(part, below(dir, info.Path())); ok {
			l.Path, l.Modified = info.Path(), info.ModTime()
			failed = f(l)
			return failed
		}
		other(info.Path())
		return nil
	})
	if err != nil && failed == nil {
		return fmt.Errorf("cannot list %s: %w", dir, err)
	}
	return err
}

// linkAt reads the path of a link below its part.
func linkAt(part, p string) (Link, bool) {
	parts := strings.Split(p, "/")
	var l Link
	if part == Tags {
		l.Tag = parts[0]
		switch {
		case len(parts) == 3 && parts[1] == "current" && parts[2] == "link":
			return l, true
		case len(parts) != 5 || parts[1] != "index":
			return l, false
		}
		parts = parts[2:]
	}
	if len(parts) != 3 || parts[2] != "link" {
		return l, false
	}
	var ok bool
	l.Digest, ok = encoded(parts[0], parts[1])
	return l, ok
}

// maxLink bounds a link's size in bytes; the longest digest has 135.
const maxLink = 1 << 10

// Read returns the digest in the link at p. gone means that there is no such link.
func Read(ctx context.Context, d driver.StorageDriver, p string) (dgst digest.Digest, gone bool, err error) {
	r, err := d.Reader(ctx, p, 0)
	if Missing(err) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot read %s: %w", p, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxLink))
	if err != nil {
		return "", false, fmt.Errorf("cannot read %s: %w", p, err)
	}
	if len(data) == 0 {
		return "", false, &Damage{p, "it is empty"}
	}
	if dgst, err = digest.Parse(string(data)); err != nil {
		return "", false, &Damage{p, "it holds no digest"}
	}
	return dgst, false, nil
}

// Damage is a file of the layout that does not hold what it must.
type Damage struct {
	Path string
	What string
}

func (d *Damage) Error() string { return d.Path + " is damaged: " + d.What }
