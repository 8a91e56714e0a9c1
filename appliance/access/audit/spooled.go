package audit

import (
	"bytes"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/spool"
)

// Spooled is a sink that keeps lines until they are delivered elsewhere. When there is room
// again after it was full, an event Lost says what is missing.
type Spooled struct {
	Spool *spool.Spool
	Now   func() time.Time

	missing uint64 // and not told yet
	lost    atomic.Uint64
}

// Lost is how many events there was no room for.
func (s *Spooled) Lost() uint64 { return s.lost.Load() }

// Write implements Sink.
func (s *Spooled) Write(lines []byte) error {
	why := "they could not be delivered, and the spool was full"
	all := lines
	if s.missing > 0 {
		all = append(LostEvent(s.missing, why, s.Now()), lines...)
	}
	err := s.Spool.Append(all)
	if err == nil {
		s.missing = 0
		return nil
	}
	n := uint64(bytes.Count(lines, []byte("\n")))
	s.missing += n
	s.lost.Add(n)
	if errors.Is(err, spool.ErrFull) {
		return nil // Lost says so
	}
	return err
}
