package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// GCOptions are what the caller of CollectStorage chooses.
type GCOptions struct {
	Storage      string // as imagestore.Finder takes it
	Untagged     bool
	Grace, Trash time.Duration
	Parallel     int
	DryRun, JSON bool
	Rules        string // file with the rules of retention; empty: the machine's
	// Now takes what it can and keeps nothing in the trash: nothing can be taken back.
	Now bool
	// Scheduled is for the timer: that another machine is at it is no failure, and what
	// was done is kept in the file Record.
	Scheduled bool
	Record    string
	Root      string // of the machine whose audit log has it; empty: none
	Output    *progress.Output
	Result    io.Writer
}

// CollectStorage frees what no image needs. It returns an error if another machine is at
// it.
func CollectStorage(ctx context.Context, finder imagestore.Finder, o GCOptions) error {
	switch {
	case o.Parallel < 1 || o.Parallel > mostParallel:
		return fmt.Errorf("cannot use --parallel %d: it is from 1 to %d", o.Parallel, mostParallel)
	case o.Grace < trash.Least:
		return fmt.Errorf("cannot use --grace %v: it is %v at least, so that no push loses what it has just been told to be there", o.Grace, trash.Least)
	case o.Trash < trash.Least:
		return fmt.Errorf("cannot use --trash %v: it is %v at least; redoubt trash empty frees the space at once", o.Trash, trash.Least)
	}
	if o.Now && o.DryRun {
		return errors.New("cannot use --now with --dry-run: redoubt gc --dry-run says what would go to the trash")
	}
	if o.Now {
		o.Grace = trash.Least
	}
	var sum collect.Summary
	err := alone(ctx, finder, o.Storage, !o.DryRun, func(place *imagestore.Place, beat func(context.Context) error) (err error) {
		sum, err = o.relieve(ctx, place, beat)
		return err
	})
	if held, ok := errors.AsType[*sharedstate.Held](err); ok {
		if !o.Scheduled {
			return err
		}
		o.Output.Println(held.Error())
		return nil
	}
	if !o.DryRun {
		o.record(sum, err)
	}
	if err == nil && o.Scheduled && sum.EarlyBlobs > 0 { // people are told
		return errors.New(collect.Early)
	}
	return err
}

// relieve is collect on a disk that may be full: then the oldest of the trash goes before,
// so that there is room to work, and after it, if there still is not enough.
func (o GCOptions) relieve(ctx context.Context, place *imagestore.Place, beat func(context.Context) error) (collect.Summary, error) {
	before, err := o.early(ctx, place, beat)
	if err != nil {
		return before, err
	}
	sum, kept, err := o.collect(ctx, place, beat)
	var after collect.Summary
	if err == nil {
		after, err = o.early(ctx, place, beat)
	}
	sum.EarlyBlobs, sum.EarlyBytes = before.EarlyBlobs+after.EarlyBlobs, before.EarlyBytes+after.EarlyBytes
	sum.TrashBlobs, sum.TrashBytes = sum.TrashBlobs-after.EarlyBlobs, sum.TrashBytes-after.EarlyBytes
	if err != nil {
		return sum, err
	}
	quotas, err := o.countQuotas(ctx, place, beat)
	if err != nil {
		return sum, err
	}
	return sum, o.tell(sum, kept, quotas)
}

// early purges the oldest of the trash before its time, if the disk of a directory is full.
func (o GCOptions) early(ctx context.Context, place *imagestore.Place, beat func(context.Context) error) (sum collect.Summary, err error) {
	if place.Root == "" || o.DryRun {
		return sum, nil
	}
	full, err := storagecheck.Full(place.Root)
	if err != nil || !full {
		return sum, err
	}
	sum.EarlyBlobs, sum.EarlyBytes, err = collect.Relieve(ctx, place.Driver, beat, func() (bool, error) { return storagecheck.Roomy(place.Root) })
	if err != nil {
		err = fmt.Errorf("cannot make room on a disk that is full: %w", err)
	}
	if sum.EarlyBlobs > 0 {
		detail := fmt.Sprintf("%s: %d blobs (%s)", collect.Early, sum.EarlyBlobs, progress.Size(sum.EarlyBytes))
		o.Output.Println(detail)
		noteStorage(o.Root, o.Storage, audit.TrashEmpty, err, detail)
	}
	return sum, err
}

// collect is a run that no other is beside.
func (o GCOptions) collect(ctx context.Context, place *imagestore.Place, beat func(context.Context) error) (collect.Summary, *Retained, error) {
	rules, err := o.rulesFor()
	if err != nil {
		return collect.Summary{}, nil, err
	}
	kept, left, err := o.retain(ctx, place, rules, beat)
	if err != nil {
		return collect.Summary{}, nil, fmt.Errorf("cannot do what the rules of retention say: %w", err)
	}
	c := collect.Collector{Storage: place.Driver, Parallel: o.Parallel, May: left.May(), Untagged: o.Untagged, Grace: o.Grace, Trash: o.Trash,
		DryRun: o.DryRun, Now: time.Now, Beat: beat, Say: func(step string) { o.Output.Println(step) }}
	sum, err := c.Run(ctx)
	if err == nil && o.Now { // what is purged was taken by an earlier run
		c.Only, c.Trash = true, 0
		var purged collect.Summary
		purged, err = c.Run(ctx)
		sum.PurgedBlobs, sum.PurgedBytes = sum.PurgedBlobs+purged.PurgedBlobs, sum.PurgedBytes+purged.PurgedBytes
		sum.Restored += purged.Restored
		sum.TrashBlobs, sum.TrashBytes = purged.TrashBlobs, purged.TrashBytes
	}
	if err != nil {
		return sum, kept, fmt.Errorf("cannot collect in %s: %w; what is done stays, and the next run goes on", place.Name, err)
	}
	if !o.DryRun {
		if err := left.Settle(ctx, place.Driver, time.Now()); err != nil {
			return sum, kept, err
		}
	}
	return sum, kept, nil
}

// record keeps how a run ended for status, metrics and the audit log. A file that cannot
// be kept is not missed.
func (o GCOptions) record(sum collect.Summary, failed error) {
	if sum.At.IsZero() { // it failed before it began
		sum.At = time.Now()
	}
	noteStorage(o.Root, o.Storage, audit.GC, failed, fmt.Sprintf("%d blobs to the trash, %d purged (%s)", sum.TakenBlobs, sum.PurgedBlobs, progress.Size(sum.PurgedBytes)))
	if o.Record == "" {
		return
	}
	err := collect.ReadLast(o.Record).After(sum, failed).Write(o.Record)
	if err != nil && o.Scheduled {
		o.Output.Println(err.Error())
	}
}

func (o GCOptions) tell(sum collect.Summary, kept *Retained, quotas []quota.Usage) error {
	if o.JSON {
		return json.NewEncoder(o.Result).Encode(struct {
			collect.Summary
			Retention *Retained     `json:"retention,omitempty"`
			Quotas    []quota.Usage `json:"quotas,omitempty"`
		}{sum, kept, quotas})
	}
	if err := kept.tell(o); err != nil {
		return err
	}
	verb := "moved to the trash"
	if o.DryRun {
		verb = "would go to the trash"
	}
	if sum.EarlyBlobs > 0 {
		if _, err := fmt.Fprintf(o.Result, "%s: %d blobs (%s)\n", collect.Early, sum.EarlyBlobs, progress.Size(sum.EarlyBytes)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(o.Result, "%d blobs (%s), %d manifests; %s: %d blobs (%s) and %d manifests; brought back: %d; purged: %d blobs (%s); in the trash: %d blobs (%s); uploads ended: %d; %d that lead nowhere\n",
		sum.Blobs, progress.Size(sum.Bytes), sum.Manifests, verb, sum.TakenBlobs, progress.Size(sum.TakenBytes), sum.TakenManifests,
		sum.Restored, sum.PurgedBlobs, progress.Size(sum.PurgedBytes), sum.TrashBlobs, progress.Size(sum.TrashBytes), sum.Uploads, sum.Broken)
	for _, u := range quotas {
		if err == nil {
			_, err = fmt.Fprintf(o.Result, "quota of %s: %s\n", u.Name(), u)
		}
	}
	return err
}

const (
	leaseKey  = "gc-lease"
	leaseTime = time.Hour
	beatEvery = time.Minute
)

// alone calls f as the only process that takes something away from a storage.
func alone(ctx context.Context, finder imagestore.Finder, name string, changes bool, f func(*imagestore.Place, func(context.Context) error) error) (err error) {
	place, err := finder.Open(ctx, name)
	if err != nil {
		return err
	}
	logrus.SetLevel(logrus.ErrorLevel) // upstream tells of each upload
	if !changes {
		return f(place, func(ctx context.Context) error { return ctx.Err() })
	}
	if err := become(place.Root); err != nil {
		return err
	}
	if place.Root != "" {
		dropBallast(place.Root)
		defer keepBallast(place.Root)
	}
	host, _ := os.Hostname()
	lease, err := sharedstate.Take(ctx, place.State, leaseKey, fmt.Sprintf("%s (process %d)", host, os.Getpid()), leaseTime)
	if held, ok := errors.AsType[*sharedstate.Held](err); ok {
		return fmt.Errorf("cannot clean the storage: %w", held)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Release(context.WithoutCancel(ctx))) }()
	last := time.Now()
	return f(place, func(ctx context.Context) error {
		if ctx.Err() != nil || time.Since(last) < beatEvery {
			return ctx.Err()
		}
		last = time.Now()
		return lease.Extend(ctx, leaseTime)
	})
}

// become makes the process the user whose directory the storage is: the registry could
// not bring back what root has put into the trash.
func become(root string) error {
	if root == "" || os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(root)
	if err != nil {
		return fmt.Errorf("cannot look at the storage: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(int(owner.Gid)), syscall.Setuid(int(owner.Uid)))
	if err != nil {
		return fmt.Errorf("cannot act as the user of the registry: %w", err)
	}
	syscall.Umask(0o027)
	return nil
}
