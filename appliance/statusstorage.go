package appliance

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/spool"
	"github.com/redoubt-registry/redoubt/appliance/storage/collect"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/neighbours"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// storageStatus reads the state of the directory of the images. It writes nothing: redoubt
// health does.
func (m *Machine) storageStatus(cfg config.Config) *status.Storage {
	if cfg.Storage.Filesystem == nil {
		s := &status.Storage{Type: "s3", Bucket: bucketName(cfg.Storage.S3), Health: m.storageHealth(), Collection: m.collection()}
		s.Others, s.OthersUnknown = neighbours.Problem(filepath.Join(m.Root, paths.Neighbours), m.storageName())
		return s
	}
	s := &status.Storage{Type: "filesystem", Root: cfg.Storage.Filesystem.Root, Health: m.storageHealth(), Collection: m.collection()}
	dir := filepath.Join(m.Root, s.Root)
	var fs syscall.Statfs_t
	info, err := os.Stat(dir)
	if err == nil {
		err = syscall.Statfs(dir, &fs)
	}
	if err != nil {
		s.Error = fmt.Sprintf("cannot read the storage: %v", err)
		return s
	}
	block := uint64(fs.Bsize) // never negative
	s.Directory = &status.Directory{Used: (fs.Blocks - fs.Bfree) * block, Free: fs.Bavail * block}
	stat, ok := info.Sys().(*syscall.Stat_t)
	gid, err := m.gid()
	const readOnly = 1 // ST_RDONLY of statfs(2)
	owned := info.Mode()&0o200 != 0 && ok && int(stat.Gid) == gid
	s.Writable = err == nil && owned && fs.Flags&readOnly == 0
	return s
}

// collection is what redoubt gc did last.
func (m *Machine) collection() *status.Collection {
	l := collect.ReadLast(filepath.Join(m.Root, paths.Collection))
	if l.At.IsZero() {
		return nil
	}
	return &status.Collection{Began: l.At, Freed: l.PurgedBytes, Trash: l.TrashBytes, Early: l.EarlyBytes, EarlyAt: l.Early, Error: l.Error, Failures: l.Failures}
}

// storageState is the state that redoubt health stored; nil before its first check, as
// after a change of the storage.
func (m *Machine) storageState() *health.State {
	s, err := health.ReadState(filepath.Join(m.Root, paths.StorageState))
	if err != nil || s.Storage != "" && s.Storage != m.storageName() {
		return nil
	}
	return &s
}

// storageName is what the storage that serves is called in a State.
func (m *Machine) storageName() string {
	data, err := os.ReadFile(filepath.Join(m.Root, paths.RegistryYML))
	if err != nil {
		return ""
	}
	c, err := registryyml.Read(data)
	if err != nil {
		return ""
	}
	return storagecheck.Name(c.Storage)
}

func (m *Machine) storageHealth() *status.Health {
	s := m.storageState()
	if s == nil {
		return nil
	}
	h := &status.Health{Grade: s.Grade, Since: s.Since, Checked: s.Checked, Stale: s.Stale(m.Now()), Error: s.Error, Key: s.Key, Failures: s.Failures}
	if h.Error == "" && s.Grade != health.OK { // the last check was good, and one is not enough
		h.Error = s.Reason
	}
	if slowest := s.Look().Slowest(); slowest != nil {
		h.Slowest, h.Seconds = slowest.Name, slowest.Seconds
	}
	return h
}

// storageCause is why redoubt-health.service has failed.
func (m *Machine) storageCause() string {
	others, _ := neighbours.Problem(filepath.Join(m.Root, paths.Neighbours), m.storageName())
	causes := []string{m.gradeCause(), others, spool.Problem(filepath.Join(m.Root, paths.Deliveries))}
	return strings.Join(slices.DeleteFunc(causes, func(c string) bool { return c == "" }), "; ")
}

func (m *Machine) gradeCause() string {
	s := m.storageState()
	if s == nil || s.Stale(m.Now()) {
		return "the storage cannot be looked at"
	}
	if s.Grade == health.OK { // it is well again
		return ""
	}
	return fmt.Sprintf("the storage is %s: %s (%s)", s.Grade, s.Reason, s.Storage)
}

// bucketName is what people call a bucket.
func bucketName(s3 *config.S3) string {
	name := path.Join(s3.Bucket, s3.Root)
	return name + " at " + cmp.Or(s3.Endpoint, "AWS "+s3.Region)
}
