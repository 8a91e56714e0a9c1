package pulls

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

func missing(err error) bool { return layout.Missing(err) }

// Read reads what all machines have recorded.
func Read(ctx context.Context, d driver.StorageDriver, now time.Time) (Known, error) {
	k := Known{Since: now, last: map[string]time.Time{}}
	data, err := d.GetContent(ctx, since)
	if err != nil && !missing(err) {
		return k, fmt.Errorf("cannot read when images were pulled: %w", err)
	}
	if at, err := time.Parse(time.RFC3339, string(data)); err == nil {
		k.Since = at
	}
	_, err = files(ctx, d, k.last, func(string) bool { return true })
	return k, err
}

// files merges the files that choose takes by their days into last, and returns their
// paths. That of days which are over has none.
func files(ctx context.Context, d driver.StorageDriver, last map[string]time.Time, choose func(day string) bool) (paths []string, err error) {
	var all []string
	if err := layout.Walk(ctx, d, Root, func(info driver.FileInfo) error {
		all = append(all, info.Path())
		return nil
	}); err != nil {
		return nil, fmt.Errorf("cannot read when images were pulled: %w", err)
	}
	for _, p := range all {
		day := path.Base(path.Dir(p))
		if _, err := time.Parse(time.DateOnly, day); p != past && (err != nil || !choose(day)) {
			continue
		}
		data, err := d.GetContent(ctx, p)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read when images were pulled: %w", err)
		}
		merge(last, data)
		if p != past {
			paths = append(paths, p)
		}
	}
	return paths, nil
}

// remembered is how long a pull is kept at most.
const remembered = 2 * 365 * 24 * time.Hour

// Compact puts the files of days that no machine writes to any more into one. One that is killed leaves some records twice. Only one
// process at a time may.
func Compact(ctx context.Context, d driver.StorageDriver, now time.Time) error {
	over := now.UTC().Add(-48 * time.Hour).Format(time.DateOnly)
	last := map[string]time.Time{}
	old, err := files(ctx, d, last, func(day string) bool { return day < over })
	if err != nil || len(old) == 0 {
		return err
	}
	for name, at := range last {
		if now.Sub(at) > remembered {
			delete(last, name)
		}
	}
	if err := d.PutContent(ctx, past, encode(last)); err != nil {
		return fmt.Errorf("cannot put together when images were pulled: %w", err)
	}
	dirs := map[string]bool{}
	for _, p := range old {
		err = errors.Join(err, unlessMissing(d.Delete(ctx, p)))
		dirs[path.Dir(p)] = true
	}
	if d.Name() == "filesystem" { // a bucket has no directories
		for dir := range dirs {
			err = errors.Join(err, unlessMissing(d.Delete(ctx, dir)))
		}
	}
	return err
}

func unlessMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}
