package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/scrub"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// ScrubOptions are what the caller of ScrubStorage chooses.
type ScrubOptions struct {
	Storage  string // as imagestore.Finder takes it
	Rate     int64  // bytes a second; 0 is no bound
	Parallel int
	After    digest.Digest
	JSON     bool
	Output   *progress.Output // progress, and faults but for JSON
	Result   io.Writer        // the result; with JSON the faults too
}

// ScrubStorage checks a storage. It returns an error if there are faults.
func ScrubStorage(ctx context.Context, finder imagestore.Finder, o ScrubOptions) error {
	if o.Parallel < 1 || o.Parallel > mostParallel {
		return fmt.Errorf("cannot use --parallel %d: it is from 1 to %d", o.Parallel, mostParallel)
	}
	storage, err := finder.Open(ctx, o.Storage)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(o.Result)
	encoder.SetEscapeHTML(false)
	var broken error // of writing
	s := &scrub.Scrub{Storage: storage.Driver, Rate: o.Rate, Parallel: o.Parallel, After: o.After, Meter: &progress.Meter{},
		Fault: func(f scrub.Fault) {
			if o.JSON {
				broken = errors.Join(broken, encoder.Encode(f))
			} else {
				o.Output.Println(f.String())
			}
		}}
	began := time.Now()
	stop := o.Output.Show(s.Meter)
	summary, err := s.Run(ctx)
	stop()
	if o.JSON {
		broken = errors.Join(broken, encoder.Encode(summary))
	} else {
		fmt.Fprintf(o.Result, "read %d blobs (%s) in %v; %d manifests and %d tags of %d repositories: %d faults, %d warnings\n",
			summary.Blobs, progress.Size(summary.Bytes), time.Since(began).Round(time.Second),
			summary.Manifests, summary.Tags, summary.Repositories, summary.Faults, summary.Warnings)
	}
	switch {
	case ctx.Err() != nil && summary.Position != "":
		return fmt.Errorf("stopped: the same command with --after %s goes on", summary.Position)
	case ctx.Err() != nil:
		return errors.New("stopped")
	case err != nil:
		return fmt.Errorf("cannot check %s: %w", storage.Name, err)
	case broken != nil:
		return fmt.Errorf("cannot write what was found: %w", broken)
	case summary.Faults > 0:
		return fmt.Errorf("%d faults in %s", summary.Faults, storage.Name)
	}
	return nil
}
