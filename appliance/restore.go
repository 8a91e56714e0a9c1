package appliance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/backup"
	"github.com/redoubt-registry/redoubt/appliance/storage/imagecopy"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// RestoreOptions are what the caller of Restore chooses.
type RestoreOptions struct {
	BackupOptions
	// Force restores although the machine serves something already, or the one of the
	// backup still answers.
	Force bool
}

// Restore makes the machine the one that a snapshot was taken of: its configuration,
// below what this machine was given itself; its authorities, so that no client notices;
// its secrets; and its images, where the storage has none. Then it applies. A restore that
// was ended is made whole by the same one again.
//
// What is newer here stays: images in a storage that has some, and the revocation list of
// the same client CA.
func (m *Machine) Restore(ctx context.Context, finder imagestore.Finder, o RestoreOptions) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if lastGood, err := history.LastGood(m.Root, m.Vault); (lastGood != nil || err != nil) && !o.Force {
		return errors.New("cannot restore: this machine has served with a configuration of its own, which would be replaced, with its authority: --force does it")
	}
	keys, err := identities(o.Identity)
	if err != nil {
		return err
	}
	r, done, err := m.looked(ctx, finder, o.BackupOptions)
	if err != nil {
		return err
	}
	defer done()
	s, err := r.Find(ctx, o.Snapshot)
	if err != nil {
		return err
	}
	scratch := filepath.Join(m.Root, paths.Restoring)
	if err := errors.Join(os.RemoveAll(scratch), os.MkdirAll(scratch, 0o700)); err != nil {
		return fmt.Errorf("cannot unpack the snapshot: %w", err)
	}
	opened, err := r.Open(ctx, s, keys, func(h *tar.Header, content io.Reader) error { return unpack(scratch, h, content) })
	if err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "snapshot %s of %s, taken %s\n", s.Name, s.Hostname, s.Taken.Format("2006-01-02 15:04:05 MST"))
	if err := m.restore(ctx, finder, o, scratch, opened); err != nil {
		return err
	}
	if err := os.RemoveAll(scratch); err != nil {
		return fmt.Errorf("cannot remove what was unpacked, which holds keys: %w", err)
	}
	return m.apply(ctx, Options{})
}

// restore puts what is in scratch in its place. The configuration goes last: until then
// the machine is as it was, but for images.
func (m *Machine) restore(ctx context.Context, finder imagestore.Finder, o RestoreOptions, scratch string, opened *backup.Opened) error {
	layer, err := restoredConfig(scratch)
	if err != nil {
		return err
	}
	before := func(l config.Layer) bool { return l.Name == paths.Restored }
	given := slices.DeleteFunc(m.Source.Read().Layers, before)
	cfg, _, report := config.Parse(append([]config.Layer{layer}, given...))
	if report.Err() != nil {
		return fmt.Errorf("cannot restore: what this machine was given does not fit the configuration of the snapshot, which lies below it:\n%w", report.Err())
	}
	if where := stillAnswers(ctx, cfg, scratch); where != "" && !o.Force {
		return fmt.Errorf("cannot restore: the machine of the backup still answers at %s, and two would take turns as one; end it first, or use --force", where)
	}
	if opened.Images != nil && len(opened.Blobs) > 0 {
		if err := m.restoreImages(ctx, finder, o, cfg, opened); err != nil {
			return err
		}
	}
	return m.exchange(scratch, layer)
}

// restoreImages copies the images into the storage, unless there are some.
func (m *Machine) restoreImages(ctx context.Context, finder imagestore.Finder, o RestoreOptions, cfg config.Config, opened *backup.Opened) error {
	if f := cfg.Storage.Filesystem; f != nil {
		if err := m.makeStorage(f.Root); err != nil {
			return fmt.Errorf("cannot restore the images: %w", err)
		}
	}
	place, err := finder.Described(ctx, cfg.Storage)
	if err != nil {
		return fmt.Errorf("cannot restore the images: %w", err)
	}
	mark := filepath.Join(m.Root, paths.RestoringImages)
	begun, _ := os.ReadFile(mark) // none: there was no restore that was ended
	there, err := hasImages(ctx, place)
	if err != nil {
		return fmt.Errorf("cannot restore the images: %w", err)
	}
	if there && string(begun) != opened.Name {
		fmt.Fprintf(m.Out, "%s has images, which stay as they are\n", place.Name)
		return nil
	}
	if err := files.Write(mark, []byte(opened.Name), 0o600, -1); err != nil {
		return fmt.Errorf("cannot restore the images: %w", err)
	}
	to, done, err := targetOf(place)
	if err != nil {
		return err
	}
	var faults []string
	c := &imagecopy.Copy{From: opened.Images, To: to, Parallel: o.Parallel, Meter: &progress.Meter{}, Fault: func(f imagecopy.Fault) {
		faults = append(faults, f.String())
		o.Output.Println(f.String())
	}}
	stop := o.Output.Show(c.Meter)
	sum, err := c.Run(ctx)
	stop()
	if err = errors.Join(err, done()); err != nil {
		return fmt.Errorf("cannot restore the images: %w; what was copied counts, the same command goes on", err)
	}
	fmt.Fprintf(m.Out, "restored %d blobs (%s) and %d links to %s\n", sum.Blobs, progress.Size(sum.Bytes), sum.Links, place.Name)
	if err := os.Remove(mark); err != nil {
		return fmt.Errorf("cannot restore the images: %w", err)
	}
	if len(faults) > 0 { // no reason to serve nothing
		m.warn("%d things of the images are not restored, named above", len(faults))
	}
	return nil
}

// hasImages says whether a storage has a repository.
func hasImages(ctx context.Context, place *imagestore.Place) (found bool, err error) {
	end := errors.New("found")
	err = layout.EachRepository(ctx, place.Driver, func(string) error { found = true; return end })
	if found || layout.Missing(err) {
		err = nil
	}
	return found, err
}

// makeStorage makes the directory of the images, as the registry's unit does.
func (m *Machine) makeStorage(root string) error {
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(root, 0o750); err != nil {
		return err
	}
	return own(root, &tar.Header{Uname: paths.RegistryUser, Gname: paths.RegistryUser})
}

// exchange puts the directories of scratch in the place of those that there are.
func (m *Machine) exchange(scratch string, layer config.Layer) error {
	old := filepath.Join(scratch, "old")
	for _, dir := range saved {
		from, to := filepath.Join(scratch, dir), filepath.Join(m.Root, dir)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if dir == paths.Operator { // another file system is mounted there
			if err := copyFiles(from, to); err != nil {
				return fmt.Errorf("cannot restore %s: %w", dir, err)
			}
			continue
		}
		if dir == paths.ClientCA && clientca.Newer(to, from) {
			fmt.Fprintf(m.Out, "%s stays: it has revoked no less\n", dir)
			continue
		}
		if err := replace(from, to, filepath.Join(old, dir)); err != nil {
			return fmt.Errorf("cannot restore %s: %w", dir, err)
		}
	}
	restored := filepath.Join(m.Root, paths.Restored)
	err := os.MkdirAll(filepath.Dir(restored), 0o700)
	if err == nil {
		err = files.Write(restored, layer.Data, 0o600, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot restore the configuration: %w", err)
	}
	return nil
}

// copyFiles writes root's files below from to the same names below to.
func copyFiles(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, info.Mode().Perm())
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return files.Write(target, data, info.Mode().Perm(), -1)
		}
		link, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return files.Link(link, target)
	})
}

// replace renames from to to, and what was there to aside.
func replace(from, to, aside string) error {
	err := os.MkdirAll(filepath.Dir(aside), 0o700)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		if err = files.Rename(to, aside); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = files.Rename(from, to)
	}
	return err
}
