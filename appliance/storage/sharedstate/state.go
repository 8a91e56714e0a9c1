// Package sharedstate keeps small objects that machines share: the certificate and
// what is known of it, the lease on its renewal, the answers to a CA's challenges. A
// Store replaces a whole object, and only if nobody has changed it since it was read. It
// is a directory of one machine, or a bucket of several.
package sharedstate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Store holds objects under names. Dir and Bucket keep the same promises.
type Store interface {
	// Get returns an object and its version. One that does not exist is
	// ErrNotFound. An object is whole: what one Put wrote.
	Get(ctx context.Context, key string) (data []byte, version string, err error)

	// Put writes an object, if its version is still ifVersion, and returns the
	// new version. An ifVersion of "" means that there must be no object. If
	// several put on one version at the same time, one succeeds; the others
	// get ErrConflict. An acknowledged object survives a power cut. After an
	// error other than ErrConflict it is not known whether the object was
	// written: Get tells. A Put whose answer was lost and that finds its own
	// data is a success.
	Put(ctx context.Context, key string, data []byte, ifVersion string) (version string, err error)

	// Delete removes an object. One that does not exist is no error.
	Delete(ctx context.Context, key string) error

	// Sweep removes the objects that were written more than age ago: those that
	// a killed process left.
	Sweep(ctx context.Context, age time.Duration) error

	// Time is the store's clock. Leases use it.
	Time(ctx context.Context) (time.Time, error)
}

// The errors that a Store's methods distinguish; compare with errors.Is.
var (
	ErrNotFound = errors.New("there is no such object")
	ErrConflict = errors.New("the object was changed by another")
)

// Damaged is an object whose content cannot be parsed. It is never overwritten: it may
// be all that is left of a key.
type Damaged struct {
	Where string // what a person can look at
	Why   string
}

func (d *Damaged) Error() string {
	if strings.HasPrefix(d.Where, "s3://") {
		return fmt.Sprintf("cannot use %s: %s. It is left as it is. Restore it, from an earlier version or from what each machine keeps in /var/lib/redoubt/acme, or move it away: aws s3 mv %s %s.damaged",
			d.Where, d.Why, d.Where, d.Where)
	}
	return fmt.Sprintf("cannot use %s: %s. It is left as it is. Restore it from a backup, or move it away to start without it: mv %s %s.damaged",
		d.Where, d.Why, d.Where, d.Where)
}
