package appliance

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/storage/scrub"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// readOnly is a place that is only read.
func readOnly(place *imagestore.Place) imagecopy.Target {
	return imagecopy.Objects{StorageDriver: place.Driver}
}

// ListBackups prints the snapshots that there are.
func (m *Machine) ListBackups(ctx context.Context, finder imagestore.Finder, o BackupOptions) error {
	r, done, err := m.looked(ctx, finder, o)
	if err != nil {
		return err
	}
	defer done()
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		for i := range list {
			list[i].Blobs = nil
		}
		return json.NewEncoder(o.Result).Encode(list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(o.Result, "there is no snapshot yet")
		return err
	}
	w := tabwriter.NewWriter(o.Result, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "snapshot\ttaken\tof\tblobs\tsize\t")
	for _, s := range list {
		note := ""
		if len(s.Faults) > 0 {
			note = fmt.Sprintf("%d things of the images could not be read", len(s.Faults))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", s.Name, s.Taken.Format(time.RFC3339), s.Hostname, len(s.Blobs), progress.Size(s.Bytes()+s.Size), note)
	}
	return w.Flush()
}

func (m *Machine) looked(ctx context.Context, finder imagestore.Finder, o BackupOptions) (*backup.Repository, func(), error) {
	place, err := m.placeOf(o.From)
	if err != nil {
		return nil, nil, err
	}
	return m.repository(ctx, finder, place, false)
}

// VerifyBackup checks a snapshot. Without an identity it checks that all is there that the
// snapshot needs; with one it decrypts all, unpacks what the machine kept into a scratch
// directory, and checks that each tag's image is whole.
func (m *Machine) VerifyBackup(ctx context.Context, finder imagestore.Finder, o BackupOptions) error {
	r, done, err := m.looked(ctx, finder, o)
	if err != nil {
		return err
	}
	defer done()
	s, err := r.Find(ctx, o.Snapshot)
	if err != nil {
		return err
	}
	missing, err := r.Missing(ctx, s)
	if err != nil {
		return err
	}
	for _, text := range missing {
		o.Output.Println(text)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the snapshot %s is not whole: %d faults, named above; take another one with redoubt backup now", s.Name, len(missing))
	}
	if o.Identity == "" {
		_, err := fmt.Fprintf(o.Result, "snapshot %s: all of its %d blobs are there; --identity FILE reads them too\n", s.Name, len(s.Blobs))
		return err
	}
	return m.read(ctx, r, s, o)
}

// read decrypts all of a snapshot.
func (m *Machine) read(ctx context.Context, r *backup.Repository, s backup.Snapshot, o BackupOptions) error {
	keys, err := identities(o.Identity)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		return fmt.Errorf("cannot unpack the snapshot: %w", err)
	}
	defer os.RemoveAll(scratch)
	count := 0
	opened, err := r.Open(ctx, s, keys, func(h *tar.Header, content io.Reader) error {
		count++
		return unpack(scratch, h, content)
	})
	if err != nil {
		return err
	}
	if _, err := restoredConfig(scratch); err != nil {
		return err
	}
	var sum scrub.Summary
	if opened.Images != nil && len(s.Blobs) > 0 {
		check := &scrub.Scrub{Storage: opened.Images, Parallel: o.Parallel, Meter: &progress.Meter{}, Fault: func(f scrub.Fault) { o.Output.Println(f.String()) }}
		stop := o.Output.Show(check.Meter)
		sum, err = check.Run(ctx)
		stop()
		if err != nil {
			return fmt.Errorf("cannot read the snapshot: %w", err)
		}
	}
	if sum.Faults > 0 {
		return fmt.Errorf("the snapshot %s is not whole: %d faults, named above", s.Name, sum.Faults)
	}
	if o.From == "" {
		record := filepath.Join(m.Root, paths.Backup)
		last := backup.ReadLast(record)
		last.Verified = m.Now().UTC()
		err = last.Write(record)
	}
	_, printErr := fmt.Fprintf(o.Result, "snapshot %s: read %d files of the machine, %d blobs (%s), and all that %d tags need\n", s.Name, count, sum.Blobs, progress.Size(sum.Bytes), sum.Tags)
	return errors.Join(err, printErr)
}
