//go:build integration

package appliance_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
	"github.com/redoubt-registry/redoubt/units"
)

// site is a machine with real images and a place for its backups.
type site struct {
	*box
	images, place, identity, recipient string
}

// newDirectory is a new directory that a configuration may name: none below /tmp.
func newDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/srv", "redoubt-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newSite(t *testing.T) *site {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{box: newBox(t), images: newDirectory(t), place: newDirectory(t), identity: filepath.Join(t.TempDir(), "key"), recipient: key.Recipient().String()}
	if err := os.WriteFile(s.identity, []byte(key.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(s.images, os.DirFS(seed.Filled(t, 1<<20))); err != nil {
		t.Fatal(err)
	}
	s.userData(fmt.Sprintf("redoubt:\n  hostname: localhost\n  storage: {filesystem: {root: %s}}\n  cache: {type: none}\n"+
		"  auth: {users: [{name: alice, password: a-long-password}]}\n  tls: {clientAuth: {mode: optional}}\n"+
		"  backup: {to: {directory: %s}, recipients: [%s], keep: 2}\n", s.images, s.place, s.recipient))
	s.put("etc/redoubt/config.d/10-own.yaml", "redoubt: {log: {level: warn}}\n")
	s.mustApply()
	return s
}

func (s *box) finder() imagestore.Finder {
	return imagestore.Finder{Registry: filepath.Join(s.root, "run/redoubt/registry.yml"), Credentials: filepath.Join(s.root, "run/credentials")}
}

func (s *box) options() appliance.BackupOptions {
	return appliance.BackupOptions{Parallel: 4, Output: progress.NewOutput(io.Discard, 0), Result: &s.out}
}

func (s *site) backUp() {
	s.Helper()
	if err := s.machine().BackUp(s.Context(), s.finder(), s.options()); err != nil {
		s.Fatal(err, s.out.String())
	}
}

// restore makes b the machine of s.
func (s *site) restore(b *box, force bool) error {
	o := appliance.RestoreOptions{BackupOptions: b.options(), Force: force}
	o.From, o.Identity = s.place, s.identity
	return b.machine().Restore(b.Context(), b.finder(), o)
}

// replacement is a new machine whose user-data says where its images lie, and no more.
func (s *site) replacement() (b *box, images string) {
	b, images = newBox(s.T), filepath.Join(newDirectory(s.T), "images")
	b.userData(fmt.Sprintf("redoubt:\n  storage: {filesystem: {root: %s}}\n", images))
	return b, images
}

func digestOf(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(filepath.Join(root, "docker"), func(p string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || strings.Contains(p, "/_uploads/") || strings.Contains(p, "/_redoubt") {
			return err
		}
		data, err := os.ReadFile(p)
		out[strings.TrimPrefix(p, root)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A machine burns down. The new one has the same authority, users, secrets, client CA and
// images.
func TestBackupAndRestore(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	if err := m.IssueClient(appliance.ClientOptions{Name: "ci", Days: 30, Out: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s.backUp()
	s.backUp()
	s.backUp()
	if !strings.Contains(s.out.String(), "of which 0 (0 B) are new; 2 snapshots are kept") {
		t.Errorf("%s", s.out.String())
	}
	o := s.options()
	o.Identity = s.identity
	s.out.Reset()
	if err := m.VerifyBackup(t.Context(), s.finder(), o); err != nil || !strings.Contains(s.out.String(), "tags need") {
		t.Errorf("%v\n%s", err, s.out.String())
	}
	report, err := m.Status(t.Context(), "test")
	if err != nil || report.Backup == nil || report.Backup.Snapshots != 2 || report.Backup.Taken.IsZero() || report.Backup.Verified.IsZero() {
		t.Errorf("status: %+v %v", report.Backup, err)
	}
	if err := s.restore(s.box, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a machine that serves is replaced: %v", err)
	}

	b, images := s.replacement()
	if err := s.restore(b, false); err == nil || !strings.Contains(err.Error(), "still answers") {
		t.Errorf("a second machine: %v", err)
	}
	s.registry.stop()
	b.registry.crash = true // the power fails in the middle of the apply
	func() {
		defer func() { _ = recover() }()
		_ = s.restore(b, false)
	}()
	b.registry.crash = false
	if err := s.restore(b, false); err != nil {
		t.Fatalf("%v\n%s", err, b.out.String())
	}
	for _, same := range []string{"var/lib/redoubt/ca/ca.crt", "var/lib/redoubt/ca/ca.key", "var/lib/redoubt/certificates/current/tls.crt", "var/lib/redoubt/certificates/current/tls.key",
		"var/lib/redoubt/client-ca/ca.crt", "var/lib/redoubt/client-ca/clients.json", "var/lib/redoubt/secrets/http-secret", "var/lib/redoubt/secrets/password-hashes.json",
		"etc/redoubt/config.d/10-own.yaml", "run/redoubt/htpasswd"} {
		if b.get(same) != s.get(same) {
			t.Errorf("%s is another one", same)
		}
	}
	if got, want := digestOf(t, images), digestOf(t, s.images); len(got) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d files of images, not %d", len(got), len(want))
	}
	if b.exists("var/lib/redoubt/restoring") || b.exists("var/lib/redoubt/restoring-images") {
		t.Error("what was unpacked is still there")
	}
	if document := b.lastGood(); !strings.Contains(document, "name: alice") || !strings.Contains(document, images) || !strings.Contains(document, "level: warn") {
		t.Errorf("%s", document)
	}
	if info, err := os.Stat(filepath.Join(b.root, "var/lib/redoubt/config/restored.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	b.mustApply() // of what it was given, as at the next boot
}

// What was revoked since a snapshot was taken stays revoked on the machine that knows it,
// and a machine that revokes backs itself up.
func TestRestoreTakesNoRevocationBack(t *testing.T) {
	s := newSite(t)
	m := s.machine()
	if err := m.IssueClient(appliance.ClientOptions{Name: "ci", Days: 30, Out: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s.backUp()
	if err := m.RevokeClient("ci"); err != nil {
		t.Fatal(err)
	}
	if calls := strings.Join(s.registry.calls, "\n"); !strings.Contains(calls, "begin "+units.Backup) {
		t.Errorf("no backup was begun:\n%s", calls)
	}
	before := digestOf(t, s.images)
	if err := s.restore(s.box, true); err != nil {
		t.Fatalf("%v\n%s", err, s.out.String())
	}
	list, err := clientca.Read(filepath.Join(s.root, "var/lib/redoubt/client-ca"))
	if err != nil || len(list) != 1 || list[0].Revoked == nil {
		t.Errorf("%+v %v", list, err)
	}
	if !strings.Contains(s.out.String(), "has images, which stay as they are") || fmt.Sprint(before) != fmt.Sprint(digestOf(t, s.images)) {
		t.Errorf("%s", s.out.String())
	}
}

// A bucket is a place too, for one at a time, and a file names it.
func TestBackupToABucket(t *testing.T) {
	s, store := newSite(t), stores.MinIO(t)
	to := fmt.Sprintf("{to: {directory: '', s3: {bucket: %s, endpoint: '%s', region: %s, root: one, accessKey: %s, secretKey: %s}}}",
		store.NewBucket(t), store.Endpoint, store.Region, store.AccessKey, store.SecretKey)
	s.put("etc/redoubt/config.d/20-bucket.yaml", "redoubt: {backup: "+to+"}\n")
	s.mustApply()
	s.backUp()
	s.backUp()
	if !strings.Contains(s.out.String(), "of which 0 (0 B) are new; 2 snapshots are kept") {
		t.Errorf("%s", s.out.String())
	}
	o := s.options()
	o.From, o.Identity = filepath.Join(t.TempDir(), "place.yaml"), s.identity
	if err := os.WriteFile(o.From, []byte("redoubt: {backup: {recipients: ["+s.recipient+"], "+to[1:]+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.machine().VerifyBackup(t.Context(), s.finder(), o); err != nil || !strings.Contains(s.out.String(), "tags need") {
		t.Errorf("%v\n%s", err, s.out.String())
	}
	s.registry.stop()
	s.place = o.From
	b, images := s.replacement()
	if err := s.restore(b, false); err != nil {
		t.Fatalf("%v\n%s", err, b.out.String())
	}
	if got, want := digestOf(t, images), digestOf(t, s.images); len(got) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d files of images, not %d", len(got), len(want))
	}
}

// What goes wrong is said, counted, and told.
func TestBackupFailures(t *testing.T) {
	s := newSite(t)
	check := func(what, want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	aside := s.place + "-aside"
	if err := os.Rename(s.place, aside); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(aside)
	for range 2 {
		check("no place", "is its disk mounted?", s.machine().BackUp(t.Context(), s.finder(), s.options()))
	}
	report, err := s.machine().Status(t.Context(), "test")
	if err != nil || report.Backup.Failures != 2 || !strings.Contains(fmt.Sprint(report.Problems), "the backup has failed") {
		t.Errorf("%+v %v", report.Backup, err)
	}
	s.out.Reset()
	if err := s.machine().Alert(t.Context(), units.Backup, "exit-code"); err != nil || !strings.Contains(s.out.String(), "the backup fails: cannot use the place") {
		t.Errorf("%v %s", err, s.out.String())
	}
	if err := os.Rename(aside, s.place); err != nil {
		t.Fatal(err)
	}
	o := s.options()
	check("no snapshot", "no snapshot", s.machine().VerifyBackup(t.Context(), s.finder(), o))
	s.backUp()
	b, _ := s.replacement()
	r := appliance.RestoreOptions{BackupOptions: b.options()}
	r.From, r.Identity = s.place, filepath.Join(t.TempDir(), "none")
	check("no identity", "no such file", b.machine().Restore(t.Context(), b.finder(), r))
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r.Identity = filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(r.Identity, []byte(other.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	check("another key", "another key", b.machine().Restore(t.Context(), b.finder(), r))
	if err := os.WriteFile(r.Identity, []byte("AGE-SECRET-KEY-1SECRETVALUE"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = b.machine().Restore(t.Context(), b.finder(), r)
	check("half a key", "private keys of age alone", err)
	if strings.Contains(err.Error(), "SECRETVALUE") {
		t.Errorf("shows a key: %v", err)
	}
	r.Identity, r.Snapshot = s.identity, "20200101T000000Z"
	check("no such snapshot", "there is no snapshot 2020", b.machine().Restore(t.Context(), b.finder(), r))
	if b.exists("var/lib/redoubt/ca") || b.exists("var/lib/redoubt/config/restored.yaml") {
		t.Error("a restore that failed left something")
	}
}
