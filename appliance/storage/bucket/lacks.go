package bucket

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
)

// lacks is what a service was found not to have.
type lacks struct {
	bulkDelete, partCopy, copy atomic.Bool
}

// Lacking tells whether an error says that the service has no such call.
func Lacking(err error) bool {
	switch code(err) {
	case "NotImplemented", "MethodNotAllowed", "UnsupportedOperation", "XNotImplemented":
		return true
	}
	s := status(err)
	return s == http.StatusNotImplemented || s == http.StatusMethodNotAllowed
}

// deleteEach deletes objects one by one, several at a time.
func (b *Bucket) deleteEach(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := make(chan struct{}, b.settings.CopyParallel)
	var wg sync.WaitGroup
	for _, key := range keys {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			if err := b.deleteOne(ctx, key); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
