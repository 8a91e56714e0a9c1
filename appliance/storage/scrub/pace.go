package scrub

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// pieceSize is how many bytes are read at once. As many may be read ahead of the rate,
// however long nothing was read.
const pieceSize = 64 << 10

// newPace is the rate of all readers together, in bytes a second; 0 is no bound.
func newPace(bytes int64) *rate.Limiter {
	if bytes <= 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(bytes), pieceSize)
}

// paid waits until the rate allows n bytes that a reader has read.
func (s *Scrub) paid(ctx context.Context, n int) error {
	for ; n > 0; n -= pieceSize {
		// Wait refuses what outlasts the context's deadline, as if the storage had failed.
		if !rest(ctx, s.pace.ReserveN(time.Now(), min(n, pieceSize)).Delay()) {
			return ctx.Err()
		}
	}
	return nil
}
