package registry

import (
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
)

// collectionSamples are what the last redoubt gc of this machine did; all zero before the
// first.
func (s *server) collectionSamples() []metrics.Sample {
	of := func(f func(collect.Last) float64) func() float64 {
		return func() float64 { return f(collect.ReadLast(s.opts.Collection)) }
	}
	return []metrics.Sample{
		{Name: "redoubt_gc_last_run_seconds", Help: "When redoubt gc last began on this machine, Unix time.", Value: of(func(l collect.Last) float64 { return unix(l.At) })},
		{Name: "redoubt_gc_last_success_seconds", Help: "When the last redoubt gc began that ended well, Unix time.", Value: of(func(l collect.Last) float64 { return unix(l.Good) })},
		{Name: "redoubt_gc_failures", Help: "Failed runs of redoubt gc in a row.", Value: of(func(l collect.Last) float64 { return float64(l.Failures) })},
		{Name: "redoubt_gc_duration_seconds", Help: "How long the last redoubt gc took.", Value: of(func(l collect.Last) float64 { return l.Seconds })},
		{Name: "redoubt_gc_manifests", Help: "Manifests that the last redoubt gc found.", Value: of(func(l collect.Last) float64 { return float64(l.Manifests) })},
		{Name: "redoubt_gc_blobs", Help: "Blobs that the last redoubt gc found.", Value: of(func(l collect.Last) float64 { return float64(l.Blobs) })},
		{Name: "redoubt_gc_bytes", Help: "Bytes of the blobs that the last redoubt gc found.", Value: of(func(l collect.Last) float64 { return float64(l.Bytes) })},
		{Name: "redoubt_gc_taken_bytes", Help: "Bytes that the last redoubt gc moved to the trash.", Value: of(func(l collect.Last) float64 { return float64(l.TakenBytes) })},
		{Name: "redoubt_gc_freed_bytes", Help: "Bytes that the last redoubt gc deleted for good.", Value: of(func(l collect.Last) float64 { return float64(l.PurgedBytes) })},
		{Name: "redoubt_trash_bytes", Help: "Bytes in the trash after the last redoubt gc.", Value: of(func(l collect.Last) float64 { return float64(l.TrashBytes) })},
		{Name: "redoubt_trash_blobs", Help: "Blobs in the trash after the last redoubt gc.", Value: of(func(l collect.Last) float64 { return float64(l.TrashBlobs) })},
	}
}
