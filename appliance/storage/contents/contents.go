// Package contents says which images two storages have, so that nobody takes one for the
// other in which they are missing.
package contents

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/distribution/distribution/v3/registry/storage/driver"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// Count is how many repositories a storage has.
type Count struct {
	Repositories int
	More         bool // and more, which were not counted
	Err          error
}

// String continues a sentence, such as "a directory".
func (c Count) String() string {
	switch {
	case c.Err != nil:
		return fmt.Sprintf(" that cannot be read (%v)", c.Err)
	case c.More:
		return fmt.Sprintf(" with more than %d repositories", c.Repositories)
	case c.Repositories == 0:
		return ", empty"
	case c.Repositories == 1:
		return " with 1 repository"
	}
	return fmt.Sprintf(" with %d repositories", c.Repositories)
}

// Change is what clients see when one storage is put in the place of another.
type Change struct {
	From, To Count
	Hidden   []string // images of From that To has not, by repository and tag
}

// Hides says whether images can be missing: some are, or it cannot be told.
func (c Change) Hides() bool {
	empty := c.To.Err != nil || c.To.Repositories == 0
	return len(c.Hidden) > 0 || empty && (c.From.Err != nil || c.From.Repositories > 0 && c.To.Err != nil)
}

// Compare reads both storages. from may be nil, and is then not known. The end of ctx
// ends the counting, and is no error.
func Compare(ctx context.Context, from, to driver.StorageDriver) (c Change) {
	if to != nil {
		c.To = count(ctx, to, func(string) error { return nil })
	}
	if from == nil {
		return c
	}
	defer func() { slices.Sort(c.Hidden) }()
	c.From = count(ctx, from, func(repository string) error {
		if to == nil || c.To.Err != nil {
			return nil
		}
		hidden, err := missing(ctx, from, to, repository)
		c.Hidden = append(c.Hidden, hidden...)
		return err
	})
	return c
}

// most are the repositories that are looked at: each takes a few requests.
const most = 10000

var errMost = errors.New("enough was counted")

func count(ctx context.Context, d driver.StorageDriver, each func(repository string) error) Count {
	var c Count
	err := layout.EachRepository(ctx, d, func(repository string) error {
		if c.Repositories == most {
			return errMost
		}
		c.Repositories++
		return each(repository)
	})
	switch {
	case err == nil:
	case errors.Is(err, errMost), c.Repositories > 0 && ctx.Err() != nil:
		c.More = true
	default:
		c.Err = err
	}
	return c
}

// missing are the images of a repository that to has not. One without a tag counts where
// to has none of the repository's at all.
func missing(ctx context.Context, from, to driver.StorageDriver, repository string) ([]string, error) {
	var out []string
	for _, part := range []string{layout.Tags, layout.Revisions} {
		have, err := below(ctx, from, repository, part)
		if err != nil {
			return nil, err
		}
		if len(have) == 0 {
			continue
		}
		there, err := below(ctx, to, repository, part)
		if err != nil {
			return nil, err
		}
		if part == layout.Revisions {
			if len(there) == 0 && len(out) == 0 {
				out = append(out, repository)
			}
			continue
		}
		for name := range have {
			if !there[name] {
				out = append(out, repository+":"+name)
			}
		}
	}
	return out, nil
}

// below are the names right below a part of a repository.
func below(ctx context.Context, d driver.StorageDriver, repository, part string) (map[string]bool, error) {
	dir := layout.Repositories + "/" + repository + "/" + part
	children, err := d.List(ctx, dir)
	if layout.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", dir, err)
	}
	names := map[string]bool{}
	for _, child := range children {
		names[path.Base(child)] = true
	}
	return names, nil
}
