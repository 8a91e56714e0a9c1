package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// CopyOptions are what the caller of CopyStorage chooses.
type CopyOptions struct {
	From, To string // as imagestore.Finder takes them
	Parallel int
	Verify   bool
	Delete   bool
	Output   *progress.Output // progress and faults
	Result   io.Writer        // the result
}

// mostParallel bounds memory and connections.
const mostParallel = 64

// CopyStorage copies one storage to another. It returns an error if anything was not
// copied.
func CopyStorage(ctx context.Context, finder imagestore.Finder, o CopyOptions) error {
	if o.Parallel < 1 || o.Parallel > mostParallel {
		return fmt.Errorf("cannot use --parallel %d: it is from 1 to %d", o.Parallel, mostParallel)
	}
	from, err := finder.Open(ctx, o.From)
	if err != nil {
		return err
	}
	to, err := finder.Open(ctx, o.To)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; a new directory for images is made with: install -d -o redoubt-registry -g redoubt-registry -m 0750 DIRECTORY", err)
	}
	if err != nil {
		return err
	}
	if imagestore.Same(from, to) {
		return errors.New("cannot copy: --from and --to are the same storage")
	}
	target, done, err := targetOf(to)
	if err != nil {
		return err
	}
	defer done()
	c := &imagecopy.Copy{From: from.Driver, To: target, Parallel: o.Parallel, Verify: o.Verify, Delete: o.Delete,
		Meter: &progress.Meter{}, Fault: func(f imagecopy.Fault) { o.Output.Println(f.String()) }}
	began := time.Now()
	stop := o.Output.Show(c.Meter)
	summary, err := c.Run(ctx)
	stop()
	if errors.Is(err, imagecopy.ErrNothing) {
		return fmt.Errorf("cannot copy %s: %w", o.From, err)
	}
	tellCopy(o, summary, time.Since(began))
	return copied(ctx, o, summary, err)
}

// targetOf makes a place one to copy to, until done is called.
func targetOf(to *imagestore.Place) (target imagecopy.Target, done func() error, err error) {
	if to.Root == "" {
		return imagecopy.Objects{StorageDriver: to.Driver}, func() error { return nil }, nil
	}
	directory, err := imagecopy.OpenDirectory(to.Driver, to.Root)
	if err != nil {
		return nil, nil, err
	}
	return directory, directory.Close, nil
}

// tellCopy prints what was done.
func tellCopy(o CopyOptions, s imagecopy.Summary, took time.Duration) {
	fmt.Fprintf(o.Result, "copied %d blobs (%s) and %d links in %v; %d blobs were there already\n",
		s.Blobs, progress.Size(s.Bytes), s.Links, took.Round(time.Second), s.Present)
	if s.Removed > 0 {
		fmt.Fprintf(o.Result, "took %d links away that the source no longer has\n", s.Removed)
	}
	if s.Dangling > 0 {
		fmt.Fprintf(o.Result, "left out %d links to blobs that the source does not have, such as %s: redoubt storage scrub says whether an image needs one\n",
			s.Dangling, s.MissingExample)
	}
	if s.Others > 0 {
		fmt.Fprintf(o.Result, "left out %d files that are no part of a registry, such as %s\n", s.Others, s.OtherExample)
	}
	if s.ComparedBlobs > 0 {
		fmt.Fprintf(o.Result, "compared %d blobs (%s) and %d links: %d differ; %d blobs are at the target alone\n",
			s.ComparedBlobs, progress.Size(s.ComparedBytes), s.ComparedLinks, s.Differences, s.OnlyAtTarget)
	}
}

// copied is the copy's outcome as an error.
func copied(ctx context.Context, o CopyOptions, s imagecopy.Summary, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped: run the same command again to resume")
	case err != nil:
		return fmt.Errorf("cannot copy %s to %s: %w; what was copied counts, the same command goes on", o.From, o.To, err)
	case s.Faults > 0:
		return fmt.Errorf("%d faults, named above; all else is copied", s.Faults)
	case s.Differences > 0:
		return errors.New("the storages are not the same yet: run the same command again")
	}
	return nil
}
