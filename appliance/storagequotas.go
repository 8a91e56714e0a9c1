package appliance

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/mount"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// ledger counts what the repositories of a storage take.
func ledger(place *imagestore.Place) *quota.Ledger {
	return &quota.Ledger{Store: place.State, Rules: place.Quotas, Now: time.Now}
}

// usage is what the repositories of each quota take; none where there are no quotas.
func usage(ctx context.Context, place *imagestore.Place) ([]quota.Usage, error) {
	if place.Quotas.None() {
		return nil, nil
	}
	return ledger(place).Usage(ctx)
}

// countQuotas makes the usage of quotas exact after a collection.
func (o GCOptions) countQuotas(ctx context.Context, place *imagestore.Place, beat func(context.Context) error) ([]quota.Usage, error) {
	if !o.DryRun {
		if err := ledger(place).Count(ctx, place.Driver, o.Grace, o.Parallel, beat); err != nil {
			return nil, err
		}
	}
	return usage(ctx, place)
}

// countMounted counts what a repository has got from another one. Nobody is refused who
// acts on the machine itself, and what was there before may count twice until the next
// collection.
func (o MountOptions) countMounted(ctx context.Context, place *imagestore.Place, list []mount.Manifest) error {
	p := ledger(place).Push(o.Repository, "")
	if p == nil {
		return nil
	}
	p.Except(o.From.Repository)
	sizes := map[digest.Digest]int64{}
	for _, m := range list {
		sizes[m.Digest] = int64(len(m.Data))
		for _, b := range m.Blobs {
			info, err := place.Driver.Stat(ctx, layout.Path(b.Digest))
			if layout.Missing(err) {
				continue
			}
			if err != nil {
				return fmt.Errorf("cannot count what quotas are for: %w", err)
			}
			sizes[b.Digest] = info.Size()
		}
	}
	var all int64
	for _, n := range sizes {
		all += n
	}
	return p.End(ctx, all)
}

// quotaStatus reads what the repositories of each quota take.
func (m *Machine) quotaStatus(ctx context.Context, cfg config.Config, s *status.Storage) {
	var rules []quota.Rule
	for _, q := range cfg.Quotas {
		rules = append(rules, quota.Rule{Repositories: q.Repositories, Size: config.Bytes(q.Size)})
	}
	l := &quota.Ledger{Now: m.Now}
	var err error
	if l.Rules, err = quota.New(rules); err == nil {
		l.Store, err = m.quotaStore(ctx, cfg)
	}
	if err == nil {
		s.Quotas, err = l.Usage(ctx)
	}
	if err != nil {
		s.QuotasUnknown = err.Error()
	}
}

func (m *Machine) quotaStore(ctx context.Context, cfg config.Config) (sharedstate.Store, error) {
	if cfg.Storage.Filesystem != nil {
		return sharedstate.Beside(filepath.Join(m.Root, cfg.Storage.Filesystem.Root)), nil
	}
	place, err := imagestore.Finder{Registry: filepath.Join(m.Root, paths.RegistryYML)}.Open(ctx, imagestore.Configured)
	if err != nil {
		return nil, err
	}
	return place.State, nil
}
