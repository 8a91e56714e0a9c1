package trash

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Brought is what TakeBack has done.
type Brought struct {
	Deletions []Deletion      // that were taken back
	Standing  []Deletion      // of tags that point to something else by now, and were left
	Gone      []digest.Digest // that an image needs, and that were purged
}

// Wanted is what is to be taken back. Empty fields match all.
type Wanted struct {
	Repository string
	Tag        string
	Digest     digest.Digest
	Since      time.Time // when it was deleted
}

// String is what a person writes for it.
func (w Wanted) String() string {
	text := cmp.Or(w.Repository, "all")
	if w.Tag != "" {
		text += ":" + w.Tag
	}
	if w.Digest != "" {
		text += "@" + w.Digest.String()
	}
	if !w.Since.IsZero() {
		text += " since " + w.Since.UTC().Format(time.RFC3339)
	}
	return text
}

func (w Wanted) matches(x Deletion) bool {
	repository, tag, isTag := layout.TagAt(x.Link)
	if !isTag {
		repository, _, _ = strings.Cut(strings.TrimPrefix(x.Link, layout.Repositories+"/"), "/_")
	}
	return (w.Repository == "" || w.Repository == repository) && (w.Tag == "" || w.Tag == tag) &&
		(w.Digest == "" || w.Digest == x.Digest) && !x.At.Before(w.Since)
}

// TakeBack takes back deletions, and brings back what they led to: an image with all that
// it is made of, and what refers to it. Of the deletions of one link the last one counts.
// A tag that points to something else by now is left, but where it is the one that is
// wanted: then it gets what it had before, also if it was not deleted but overwritten. No
// other process may collect meanwhile.
func TakeBack(ctx context.Context, d driver.StorageDriver, w Wanted) (Brought, error) {
	b := &back{d: d, rd: Driver(d), over: w.Tag != "", links: map[string]Deletion{}, seen: map[string]bool{}}
	var chosen []Deletion
	err := EachRecord(ctx, d, func(r Record) error {
		for _, x := range r.Deletions {
			if w.matches(x) {
				chosen = append(chosen, x)
			}
			if last, ok := b.links[x.Link]; !ok || last.At.Before(x.At) {
				b.links[x.Link] = x
			}
		}
		return nil
	})
	if err == nil && len(chosen) == 0 {
		chosen, err = b.other(ctx, w)
	}
	if err != nil {
		return b.Brought, err
	}
	// Tags last: none may point to what is not there yet.
	slices.SortFunc(chosen, func(x, y Deletion) int {
		return cmp.Or(order(x.Link)-order(y.Link), strings.Compare(x.Link, y.Link), y.At.Compare(x.At))
	})
	chosen = slices.CompactFunc(chosen, func(x, y Deletion) bool { return x.Link == y.Link })
	for _, x := range chosen {
		if err := b.take(ctx, x); err != nil {
			return b.Brought, fmt.Errorf("cannot take back a deletion: %w", err)
		}
	}
	return b.Brought, b.settle(ctx)
}

// other finds what nobody has deleted: a manifest that was collected, and what a tag had
// before it was overwritten.
func (b *back) other(ctx context.Context, w Wanted) ([]Deletion, error) {
	switch {
	case w.Repository == "":
		return nil, nil
	case w.Tag == "" && w.Digest != "":
		link := layout.LinkPath(w.Repository, layout.Revisions, w.Digest)
		back, err := Restore(ctx, b.d, link)
		if err != nil || !back {
			return nil, err
		}
		return []Deletion{{Link: link, Digest: w.Digest}}, nil
	case w.Tag == "":
		return nil, nil
	}
	link := layout.TagPath(w.Repository, w.Tag)
	now, _, err := layout.Read(ctx, b.d, link)
	if _, damaged := errors.AsType[*layout.Damage](err); err != nil && !damaged {
		return nil, err
	}
	var before Deletion
	err = layout.EachLink(ctx, b.d, w.Repository, layout.Tags+"/"+w.Tag+"/index", func(l layout.Link) error {
		if l.Digest != now && (w.Digest == "" || w.Digest == l.Digest) && l.Modified.After(before.At) {
			before = Deletion{Link: link, Digest: l.Digest, At: l.Modified}
		}
		return nil
	}, func(string) {})
	if err != nil || before.Digest == "" {
		return nil, err
	}
	return []Deletion{before}, nil
}

func order(link string) int {
	if _, _, ok := layout.TagAt(link); ok {
		return 1
	}
	return 0
}

// back is one TakeBack.
type back struct {
	Brought
	d, rd driver.StorageDriver // as it is, and with the trash
	over  bool
	links map[string]Deletion // the last of each
	seen  map[string]bool     // manifests, by their links
}

func (b *back) take(ctx context.Context, x Deletion) error {
	if repository, _, ok := layout.TagAt(x.Link); ok {
		return b.tag(ctx, repository, x)
	}
	if repository, dgst, ok := layout.RevisionAt(x.Link); ok {
		if b.links[x.Link].Digest == "" { // it was collected, and is back
			b.Deletions = append(b.Deletions, x)
		}
		return b.image(ctx, repository, dgst)
	}
	return b.link(ctx, x)
}

// link writes a link that was deleted.
func (b *back) link(ctx context.Context, x Deletion) error {
	if err := b.d.PutContent(ctx, x.Link, []byte(x.Digest)); err != nil {
		return err
	}
	b.Deletions = append(b.Deletions, x)
	return nil
}

func (b *back) tag(ctx context.Context, repository string, x Deletion) error {
	now, gone, err := layout.Read(ctx, b.d, x.Link)
	if _, damaged := errors.AsType[*layout.Damage](err); err != nil && !damaged {
		return err
	}
	if !gone && err == nil && now != x.Digest && !b.over {
		b.Standing = append(b.Standing, x)
		return nil
	}
	if err := b.image(ctx, repository, x.Digest); err != nil {
		return err
	}
	_, name, _ := layout.TagAt(x.Link)
	if err := b.d.PutContent(ctx, layout.TaggedPath(repository, name, x.Digest), []byte(x.Digest)); err != nil {
		return err
	}
	return b.link(ctx, x)
}

// image brings back a manifest with what it needs and what refers to it.
func (b *back) image(ctx context.Context, repository string, dgst digest.Digest) error {
	link := layout.LinkPath(repository, layout.Revisions, dgst)
	if b.seen[link] {
		return nil
	}
	b.seen[link] = true
	if _, err := b.rd.Stat(ctx, link); layout.Missing(err) {
		x, ok := b.links[link]
		if !ok {
			b.Gone = append(b.Gone, dgst)
			return nil
		}
		if err := b.link(ctx, x); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	data, err := manifest(ctx, b.rd, link)
	if err != nil {
		return err
	}
	if data == nil {
		b.Gone = append(b.Gone, dgst)
		return nil
	}
	return b.parts(ctx, repository, dgst, data)
}

func (b *back) parts(ctx context.Context, repository string, dgst digest.Digest, data []byte) error {
	refs := layout.ReferencesOf(data)
	for _, blob := range refs.Blobs {
		if len(blob.URLs) > 0 {
			continue
		}
		if err := b.blob(ctx, repository, blob.Digest); err != nil {
			return err
		}
	}
	for _, m := range refs.Manifests {
		link := layout.LinkPath(repository, layout.Revisions, m.Digest)
		if _, deleted := b.links[link]; !deleted {
			if _, err := b.rd.Stat(ctx, link); layout.Missing(err) { // it may never have been there
				continue
			} else if err != nil {
				return err
			}
		}
		if err := b.image(ctx, repository, m.Digest); err != nil {
			return err
		}
	}
	if desc, subject := layout.Describe(dgst, data); subject != "" {
		about, err := json.Marshal(desc)
		if err == nil {
			err = b.d.PutContent(ctx, layout.ReferrerPath(repository, subject, dgst), about)
		}
		if err != nil {
			return err
		}
	}
	return b.referrers(ctx, repository, dgst)
}

// blob brings back a blob, and makes it one of the repository.
func (b *back) blob(ctx context.Context, repository string, dgst digest.Digest) error {
	link := layout.LinkPath(repository, layout.Layers, dgst)
	target, gone, err := layout.Read(ctx, b.d, link)
	if _, damaged := errors.AsType[*layout.Damage](err); err != nil && !damaged {
		return err
	}
	if gone || err != nil {
		target = dgst
	}
	if _, err := b.rd.Stat(ctx, layout.Path(target)); layout.Missing(err) {
		b.Gone = append(b.Gone, dgst)
		return nil
	} else if err != nil {
		return err
	}
	if !gone {
		return nil
	}
	return b.d.PutContent(ctx, link, []byte(dgst))
}

// referrers brings back what refers to a manifest, and was collected with it.
func (b *back) referrers(ctx context.Context, repository string, dgst digest.Digest) error {
	files, err := b.d.List(ctx, layout.ReferrersPath(repository, dgst))
	if unlessMissing(err) != nil {
		return err
	}
	for _, file := range files {
		referrer, ok := layout.ReferrerAt(file)
		if !ok {
			continue
		}
		if _, err := b.rd.Stat(ctx, layout.LinkPath(repository, layout.Revisions, referrer)); layout.Missing(err) {
			continue
		} else if err != nil {
			return err
		}
		if err := b.image(ctx, repository, referrer); err != nil {
			return err
		}
	}
	return nil
}

// settle forgets the deletions that were taken back, with older ones of the same links.
func (b *back) settle(ctx context.Context) error {
	taken := map[string]bool{}
	for _, x := range b.Deletions {
		taken[x.Link] = true
	}
	return EachRecord(ctx, b.d, func(r Record) error {
		n := len(r.Deletions)
		r.Deletions = slices.DeleteFunc(r.Deletions, func(x Deletion) bool { return taken[x.Link] })
		if len(r.Deletions) == n {
			return nil
		}
		return r.write(ctx, b.d)
	})
}

// largest is the size in bytes of the largest manifest.
const largest = 4 << 20

// manifest reads the manifest that a link leads to; nil if there is none.
func manifest(ctx context.Context, d driver.StorageDriver, link string) ([]byte, error) {
	if _, err := d.Stat(ctx, link); err != nil { // brings the link back
		return nil, unlessMissing(err)
	}
	dgst, gone, err := layout.Read(ctx, d, link)
	if _, damaged := errors.AsType[*layout.Damage](err); gone || damaged {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := d.Reader(ctx, layout.Path(dgst), 0)
	if err != nil {
		return nil, unlessMissing(err)
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, largest))
}
