package limit

import (
	"math"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// buckets count the failures of each key, of the latest keys that failed.
type buckets[K comparable] struct {
	bound Bucket
	known *lru.Cache[K, *rate.Limiter]
}

func newBuckets[K comparable](bound Bucket, size int) buckets[K] {
	known, err := lru.New[K, *rate.Limiter](size)
	if err != nil {
		panic(err) // of a size below 1, which is a constant
	}
	return buckets[K]{bound, known}
}

// tokens are the failures that key has left.
func (b buckets[K]) tokens(key K, now time.Time) float64 {
	if l, ok := b.known.Peek(key); ok {
		return l.TokensAt(now)
	}
	return float64(b.bound.Burst)
}

// failures are those that time has not yet forgiven.
func (b buckets[K]) failures(key K, now time.Time) int {
	return b.bound.Burst - int(math.Floor(b.tokens(key, now)))
}

func (b buckets[K]) spent(key K, now time.Time) bool { return b.tokens(key, now) < 1 }

// fail counts a failure. One too many counts as none.
func (b buckets[K]) fail(key K, now time.Time) {
	l, ok := b.known.Get(key)
	if !ok {
		l = rate.NewLimiter(rate.Every(b.bound.Every), b.bound.Burst)
		b.known.Add(key, l)
	}
	l.AllowN(now, 1)
}

// until is how long it takes until key has as many tokens.
func (b buckets[K]) until(tokens int, key K, now time.Time) time.Duration {
	missing := float64(tokens) - b.tokens(key, now)
	return time.Duration(max(missing, 0) * float64(b.bound.Every))
}
