//go:build machine

package machine_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/stores"
	"github.com/redoubt-registry/redoubt/units"
)

// TestBucketIsTried gives a machine a bucket with one mistake after the other, then
// a right one: it is told what to fix, and keeps using what it had.
func TestBucketIsTried(t *testing.T) {
	lan := machine.NewLan(t)
	store, _, text := bucketOn(t, lan)
	boot := func(number int, storage string) *site {
		s := &site{t: t, aliceHash: hash(t)}
		s.Machine = lan.Boot(number, machine.Seed(userData(s.aliceHash)+storage)...)
		s.awaitApply()
		s.transport = s.Transport()
		s.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.Dial(ctx, network, "127.0.0.1:443")
		}
		return s
	}
	keys := func(s3 string, key, secret string) string {
		return "storage: {s3: {" + s3 + ", accessKey: " + key + ", secretKey: " + secret + "}}\n"
	}
	const wrong = "S3cr3t-that-is-wrong"

	first := boot(1, "  "+keys(text, store.AccessKey, wrong))
	first.run("a wrong key at the first boot", func(t *testing.T, s *site) {
		page := s.Run("cat", "/run/redoubt/maintenance.json", "/run/issue.d/50-redoubt.issue")
		if !strings.Contains(page, "storage.s3.secretKey") || strings.Contains(page, wrong) {
			t.Errorf("the page:\n%s", page)
		}
		s.configure("10-bucket.yaml", keys(text, store.AccessKey, store.SecretKey))
		s.mustApply()
		s.mustServe("once it is fixed")
	})

	s := boot(2, "")
	s.mustServe("after boot")
	for name, c := range map[string]struct{ document, want string }{
		"another secret": {keys(text, store.AccessKey, wrong), "storage.s3.secretKey: the store refuses the signature"},
		"an unknown key": {keys(text, wrong, store.SecretKey), "storage.s3.accessKey: the store does not know"},
		"no such bucket": {keys(strings.Replace(text, "bucket: ", "bucket: no-", 1), store.AccessKey, store.SecretKey), "storage.s3.bucket: there is no such bucket"},
		"nobody there":   {keys(strings.Replace(text, ":9000", ":9009", 1), store.AccessKey, store.SecretKey), "storage.s3.endpoint: "},
	} {
		s.run(name, func(t *testing.T, s *site) {
			before := s.invocations()
			s.configure("10-bucket.yaml", c.document)
			out, err := s.apply()
			if err == nil || !strings.Contains(out, "10-bucket.yaml:1:") || !strings.Contains(out, c.want) || strings.Contains(out, wrong) {
				t.Errorf("%v\n%s", err, out)
			}
			if after := s.invocations(); after != before {
				t.Errorf("something restarted; before:\n%s\nafter:\n%s", before, after)
			}
			s.mustServe("on what it had")
		})
	}
	s.run("the right one", func(t *testing.T, s *site) {
		s.configure("10-bucket.yaml", keys(text, store.AccessKey, store.SecretKey))
		s.mustApply()
		r, image := s.push("team/bucket:1", 2)
		s.mustPull(r, image)
	})
	s.run("other keys", func(t *testing.T, s *site) {
		rotate(t, s, store, func(u stores.User) string { return keys(text, u.AccessKey, u.SecretKey) })
	})
}

// rotate gives a machine that is pushed to other keys of its bucket.
func rotate(t *testing.T, s *site, store *stores.Store, document func(u stores.User) string) {
	before := s.Property(units.Registry, "InvocationID")
	s.configure("10-bucket.yaml", document(store.NewUser(t)))
	s.mustApply()
	if s.Property(units.Registry, "InvocationID") == before {
		t.Error("the registry still uses the old keys")
	}
	r, image := s.push("team/bucket:2", 1)
	s.mustPull(r, image)
	run := s.Property(units.Registry, "MainPID")
	for _, place := range []string{
		"tr '\\0' ' ' </proc/" + run + "/environ; tr '\\0' ' ' </proc/" + run + "/cmdline; echo; cat /run/redoubt/registry.yml",
		"journalctl --namespace='*' --no-pager --all",
		"cat /var/lib/redoubt/config/* /var/lib/redoubt/generations/*/*",
	} {
		if out, err := s.TryRun("sh", "-c", place); err != nil || strings.Contains(out, store.SecretKey) {
			t.Errorf("the secret key is in: %s (%v)", place, err)
		}
	}
}
