package retention

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

const (
	seenPath = "/redoubt/retention/seen" // the rules whose plan somebody has looked at
	gonePath = "/redoubt/retention/gone" // manifests whose tags went, until they are collected
)

// fingerprint tells rules from others.
func (r Rules) fingerprint() string {
	r.Enforce = false
	data, err := json.Marshal(r)
	if err != nil {
		panic(err) // text and numbers alone
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// See notes that somebody has looked at the plan of rules.
func See(ctx context.Context, d driver.StorageDriver, r Rules) error {
	if err := d.PutContent(ctx, seenPath, []byte(r.fingerprint())); err != nil {
		return fmt.Errorf("cannot note that the plan was looked at: %w", err)
	}
	return nil
}

// Seen tells whether somebody has looked at the plan of these very rules.
func Seen(ctx context.Context, d driver.StorageDriver, r Rules) (bool, error) {
	data, err := d.GetContent(ctx, seenPath)
	if layout.Missing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read whether the plan was looked at: %w", err)
	}
	return string(data) == r.fingerprint(), nil
}

// left is a manifest whose tags went.
type left struct {
	Manifest
	At time.Time `json:"at"`
}

// Left are the manifests whose tags went in this run or in one before it.
type Left struct{ list []left }

// Apply deletes the tags that go, as a client would, and returns the manifests that then
// nothing holds. A tag that was pushed since the plan was made stays. beat is called
// between changes.
func (p *Plan) Apply(ctx context.Context, d driver.StorageDriver, now time.Time, beat func(context.Context) error) (tags int, l Left, err error) {
	if l, err = readLeft(ctx, d); err != nil {
		return 0, l, err
	}
	for _, m := range p.Gone {
		l.list = append(l.list, left{m, now})
	}
	if len(p.Gone) > 0 { // first: a run that is killed leaves none that the next does not know
		if err := l.write(ctx, d); err != nil {
			return 0, l, err
		}
	}
	for _, i := range p.Images {
		if i.Kept {
			continue
		}
		if err := beat(ctx); err != nil {
			return tags, l, err
		}
		link := layout.TagPath(i.Repository, i.Name)
		have, gone, err := layout.Read(ctx, d, link)
		if errors.As(err, new(*layout.Damage)) || gone || err == nil && have != i.Digest {
			continue
		}
		var info driver.FileInfo
		if err == nil {
			info, err = d.Stat(ctx, link)
		}
		if err == nil && info.ModTime().After(i.Pushed) {
			continue
		}
		if err == nil {
			err = trash.Untag(ctx, d, i.Repository, i.Name)
		}
		if err != nil {
			return tags, l, fmt.Errorf("cannot delete the tag %s:%s: %w", i.Repository, i.Name, err)
		}
		tags++
	}
	return tags, l, nil
}

func readLeft(ctx context.Context, d driver.StorageDriver) (l Left, err error) {
	data, err := d.GetContent(ctx, gonePath)
	if layout.Missing(err) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("cannot read what the last run left: %w", err)
	}
	if json.Unmarshal(data, &l.list) != nil { // they stay as manifests without a tag
		l.list = nil
	}
	return l, nil
}

func (l Left) write(ctx context.Context, d driver.StorageDriver) error {
	data, err := json.Marshal(l.list)
	if err == nil {
		err = d.PutContent(ctx, gonePath, data)
	}
	if err != nil {
		return fmt.Errorf("cannot note what goes: %w", err)
	}
	return nil
}

// May tells whether a manifest without a tag may go: its tags went, and it was not pushed
// again.
func (l Left) May() func(repository string, link layout.Link) bool {
	at := map[Manifest]time.Time{}
	for _, x := range l.list {
		if x.At.After(at[x.Manifest]) {
			at[x.Manifest] = x.At
		}
	}
	return func(repository string, link layout.Link) bool {
		went, ok := at[Manifest{repository, link.Digest}]
		return ok && link.Modified.Before(went)
	}
}

// forgotten is the age at which it is not tried any more to collect a manifest: something
// else has come to hold it.
const forgotten = 30 * 24 * time.Hour

// Settle forgets the manifests that a collection has taken.
func (l Left) Settle(ctx context.Context, d driver.StorageDriver, now time.Time) error {
	if len(l.list) == 0 {
		return nil
	}
	var failed error
	l.list = slices.DeleteFunc(l.list, func(x left) bool {
		if now.Sub(x.At) > forgotten {
			return true
		}
		_, err := d.Stat(ctx, layout.LinkPath(x.Repository, layout.Revisions, x.Digest))
		if err != nil && !layout.Missing(err) {
			failed = err
		}
		return layout.Missing(err)
	})
	if failed != nil {
		return fmt.Errorf("cannot look for what goes: %w", failed)
	}
	return l.write(ctx, d)
}
