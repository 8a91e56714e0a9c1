package imagecopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
)

// remove removes the target's links that the source does not have, tags first.
func (c *Copy) remove(ctx context.Context) error {
	c.Meter.Begin("links that the source no longer has", 0, 0)
	for _, part := range []string{layout.Tags, layout.Revisions, layout.Layers} {
		err := layout.EachRepository(ctx, c.To, func(name string) error {
			group := (&repository{Copy: c}).group()
			err := layout.EachLink(ctx, c.To, name, part, func(l layout.Link) error {
				group.Go(func() error { return c.removeLink(ctx, l) })
				return nil
			}, func(string) {})
			return errors.Join(group.Wait(), err)
		})
		if err != nil {
			return fmt.Errorf("target: %w", err)
		}
	}
	return nil
}

func (c *Copy) removeLink(ctx context.Context, l layout.Link) error {
	defer c.Meter.Objects.Add(1)
	_, err := c.From.Stat(ctx, l.Path)
	if !layout.Missing(err) {
		return err
	}
	c.summary.removed.Add(1)
	return c.To.Remove(ctx, l.Path)
}
