//go:build integration

package appliance_test

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/test/gateway"
	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// bucketOf is a configuration with a bucket of s; values replace those of its keys.
func bucketOf(s *stores.Store, bucket string, values ...string) string {
	keys := map[string]string{"bucket": bucket, "region": s.Region, "endpoint": s.Endpoint,
		"accessKey": s.AccessKey, "secretKey": s.SecretKey, "redirect": "false"}
	for i := 0; i < len(values); i += 2 {
		keys[values[i]] = values[i+1]
	}
	document := good + "  cache: {type: memory}\n  storage:\n    s3:\n"
	for _, key := range []string{"bucket", "region", "endpoint", "accessKey", "secretKey", "redirect", "root", "caBundle"} {
		if v := keys[key]; strings.Contains(v, "\n") {
			document += "      " + key + ": |\n        " + strings.ReplaceAll(strings.TrimSpace(v), "\n", "\n        ") + "\n"
		} else if v != "" {
			document += fmt.Sprintf("      %s: %q\n", key, v)
		}
	}
	return strings.ReplaceAll(document, `"false"`, "false")
}

// A bucket that works is taken up: the credentials are root's alone, and nothing
// of the look is left in it.
func TestABucketIsTakenUp(t *testing.T) {
	s := stores.Versity(t)
	b := newBox(t)
	b.userData(bucketOf(s, s.NewBucket(t), "root", "registry"))
	b.mustApply()
	b.wantCalls("daemon-reload, start redoubt-registry.service")
	for path, mode := range map[string]os.FileMode{
		"run/redoubt/credentials":            os.ModeDir | 0o700,
		"run/redoubt/credentials/redoubt.s3": 0o600,
	} {
		if info, err := os.Lstat(filepath.Join(b.root, path)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if y := b.get("run/redoubt/registry.yml"); strings.Contains(y, s.SecretKey) || strings.Contains(y, s.AccessKey) {
		t.Errorf("a key in registry.yml:\n%s", y)
	}
	left, err := filepath.Glob(filepath.Join(s.Data, "*", "registry", "redoubt", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the bucket: %v, %v", left, err)
	}
	before := b.snapshot()
	b.mustApply()
	b.wantCalls("")
	if after := b.snapshot(); after != before {
		t.Errorf("the second apply wrote something; before:\n%s\nafter:\n%s", before, after)
	}
}

// mistakes are what can be wrong with a bucket, and what is said.
func mistakes(s *stores.Store, bucket string) map[string][3]string {
	return map[string][3]string{
		"a wrong secret key":   {"secretKey", "hunter2hunter2hunter2", "user-data:12:18: storage.s3.secretKey: "},
		"an unknown key":       {"accessKey", "hunter2hunter2", "user-data:11:18: storage.s3.accessKey: "},
		"no such bucket":       {"bucket", "no-such-bucket", "user-data:8:15: storage.s3.bucket: there is no such bucket"},
		"another region":       {"region", "eu-west-9", "user-data:9:15: storage.s3.region: "},
		"http in place of TLS": {"endpoint", strings.Replace(s.Endpoint, "http://", "https://", 1), "user-data:10:17: storage.s3.endpoint: the endpoint does not speak TLS"},
	}
}

// At a first boot a mistake is reported with the key to fix and its line, and no value.
func TestAMistakeWithTheBucketAtFirstBoot(t *testing.T) {
	s := stores.MinIO(t)
	bucket := s.NewBucket(t)
	for name, m := range mistakes(s, bucket) {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.userData(bucketOf(s, bucket, m[0], m[1]))
			err := b.apply()
			b.wantError(err, "no images are served", m[2])
			page := b.get("run/redoubt/maintenance.json") + b.get("run/motd.d/50-redoubt")
			if !strings.Contains(page, "storage.s3."+m[0]) {
				t.Errorf("the page:\n%s", page)
			}
			for _, secret := range []string{"hunter2", s.SecretKey} {
				if strings.Contains(page+err.Error()+b.out.String(), secret) {
					t.Errorf("a secret in what is said:\n%v\n%s\n%s", err, &b.out, page)
				}
			}
			if b.exists("run/redoubt/credentials") || b.exists("var/lib/redoubt/config/last-good.sealed") {
				t.Error("something of it was taken up")
			}
			b.userData(bucketOf(s, bucket)) // and fixed
			b.mustApply()
		})
	}
}

// On a machine that serves, a mistake changes nothing.
func TestAMistakeWithTheBucketLater(t *testing.T) {
	s := stores.Versity(t)
	bucket := s.NewBucket(t)
	all := mistakes(s, bucket)
	all["nobody there"] = [3]string{"endpoint", "http://" + program.FreeAddress(t), "user-data:10:17: storage.s3.endpoint: "}
	all["no such name"] = [3]string{"endpoint", "http://no-such-host.invalid", "user-data:10:17: storage.s3.endpoint: "}
	b := newBox(t)
	b.userData(bucketOf(s, bucket))
	b.mustApply()
	before := b.snapshot()
	for name, m := range all {
		t.Run(name, func(t *testing.T) {
			b.T = t
			b.userData(bucketOf(s, bucket, m[0], m[1]))
			b.wantError(b.apply(), "the last good configuration serves", m[2])
			b.wantCalls("")
		})
	}
	b.T = t
	b.userData(bucketOf(s, bucket))
	if after := b.snapshot(); !sameBut(before, after, userDataPath) {
		t.Errorf("something was written; before:\n%s\nafter:\n%s", before, after)
	}
}

// sameBut compares two snapshots without the lines of a path.
func sameBut(a, b, path string) bool {
	without := func(s string) string {
		var out strings.Builder
		for line := range strings.Lines(s) {
			if !strings.Contains(line, path) && !strings.Contains(line, filepath.Dir(path)+" ") {
				out.WriteString(line)
			}
		}
		return out.String()
	}
	return without(a) == without(b)
}

// A file that holds the key and changes to a wrong one leaves what serves alone.
func TestAKeyInAFileThatIsWrongLater(t *testing.T) {
	s := stores.Versity(t)
	b := newBox(t)
	b.put("etc/redoubt/key", s.SecretKey+"\n")
	b.userData(bucketOf(s, s.NewBucket(t), "secretKey", "file:/etc/redoubt/key"))
	b.mustApply()
	before := b.get("run/redoubt/credentials/redoubt.s3")
	b.put("etc/redoubt/key", "hunter2hunter2\n")
	b.wantError(b.apply(), "nothing was changed", "user-data:12:18: storage.s3.secretKey: ")
	b.wantCalls("")
	if b.get("run/redoubt/credentials/redoubt.s3") != before {
		t.Error("the wrong key was taken up")
	}
}

// A bucket that cannot be reached keeps no registry from starting.
func TestABucketThatIsAwayAtBoot(t *testing.T) {
	s := stores.Versity(t)
	document := bucketOf(s, s.NewBucket(t))
	s.Kill()
	b := newBox(t)
	b.userData(document)
	b.mustApply()
	if !strings.Contains(b.out.String(), "user-data:10:17: storage.s3.endpoint: warning: ") {
		t.Errorf("out:\n%s", &b.out)
	}
	b.reboot() // and it asks no more for what it has served with
	b.mustApply()
	if strings.Contains(b.out.String(), "warning: ") && strings.Contains(b.out.String(), "storage.s3") {
		t.Errorf("out:\n%s", &b.out)
	}
}

// New keys are tried, and restart the registry; nothing else does.
func TestOtherKeysRestartTheRegistry(t *testing.T) {
	s := stores.Versity(t)
	bucket := s.NewBucket(t)
	user := s.NewUser(t)
	b := newBox(t)
	b.userData(bucketOf(s, bucket))
	b.mustApply()
	b.userData(bucketOf(s, bucket, "root", "elsewhere"))
	b.mustApply()
	b.wantCalls("daemon-reload, restart redoubt-registry.service")
	b.userData(bucketOf(s, bucket, "root", "elsewhere") + "  log: {level: debug}\n")
	b.mustApply()
	b.wantCalls("reload redoubt-registry.service")
	b.userData(bucketOf(s, bucket, "root", "elsewhere", "accessKey", user.AccessKey, "secretKey", user.SecretKey) + "  log: {level: debug}\n")
	b.mustApply()
	b.wantCalls("restart redoubt-registry.service")
	b.userData(good + "  cache: {type: memory}\n")
	b.mustApply()
	b.wantCalls("daemon-reload, restart redoubt-registry.service")
	if b.exists("run/redoubt/credentials") {
		t.Error("the credentials are still there")
	}
}

// TLS with a CA of the store's own.
func TestABucketWithItsOwnCA(t *testing.T) {
	s := stores.MinIO(t, stores.Options{TLS: true})
	bucket := s.NewBucket(t)
	b := newBox(t)
	b.userData(bucketOf(s, bucket))
	b.wantError(b.apply(), "storage.s3.caBundle: the endpoint's certificate is of a CA that this machine does not know")
	b.userData(bucketOf(s, bucket, "caBundle", s.Roots))
	b.mustApply()
	if b.get("run/redoubt/s3-ca.pem") != s.Roots {
		t.Error("another CA than what was given")
	}
}

// A dry run asks nobody.
func TestADryRunAsksNoBucket(t *testing.T) {
	s := stores.Versity(t)
	document := bucketOf(s, s.NewBucket(t))
	s.Kill()
	b := newBox(t)
	b.userData(document)
	if err := b.machine().Apply(t.Context(), appliance.Options{DryRun: true}); err != nil {
		t.Errorf("%v\n%s", err, &b.out)
	}
	if strings.Contains(b.out.String(), "storage.s3") {
		t.Errorf("out:\n%s", &b.out)
	}
}

// With a role there is no key anywhere; the helper of root gives one.
func TestRoleBucket(t *testing.T) {
	s := stores.Versity(t)
	b := newBox(t)
	document := strings.NewReplacer("      accessKey: \""+s.AccessKey+"\"\n", "", "      secretKey: \""+s.SecretKey+"\"\n", "      iamRole: true\n").
		Replace(bucketOf(s, s.NewBucket(t)))
	b.userData(document)
	err := b.apply() // nobody answers at a first boot: that may pass
	if err != nil || !strings.Contains(b.out.String(), "storage.s3.iamRole: warning: no credentials of the instance's role") {
		t.Errorf("%v\n%s", err, &b.out)
	}

	b.registry.stop()
	b = newBox(t)
	b.userData(document)
	socket := filepath.Join(b.root, "run/redoubt-credentials/socket")
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	helper := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q}`, s.AccessKey, s.SecretKey)
	})}
	go func() { _ = helper.Serve(l) }()
	defer helper.Close()
	b.mustApply()
	b.wantCalls("start redoubt-credentials.socket, daemon-reload, start redoubt-registry.service")
	if got := b.get("run/redoubt/credentials/redoubt.s3"); got != "{\"role\":true}\n" {
		t.Errorf("the credential: %s", got)
	}
}

// Several machines share no bucket whose service overwrites what another one has
// changed.
func TestSharedBucket(t *testing.T) {
	s := stores.Versity(t)
	g := gateway.Start(t, s)
	document := strings.Replace(bucketOf(s, s.NewBucket(t), "endpoint", g.Endpoint), "{type: memory}", "{type: none}", 1) +
		"  nodes: 2\n  httpSecret: 0123456789abcdef\n  tls: {internalCA: {certificate: file:/etc/ca.crt, privateKey: file:/etc/ca.key}}\n"
	ca, err := cert.NewCA([]string{"registry.example.com"}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	b := newBox(t)
	b.put("etc/ca.crt", string(ca.PEM()))
	b.put("etc/ca.key", string(key))
	b.userData(strings.Replace(document, "nodes: 2", "nodes: 1", 1))
	g.Ignore("If-Match", "If-None-Match")
	b.mustApply() // one machine needs no conditions
	b.userData(document)
	b.wantError(b.apply(), "user-data:14:10: nodes: the bucket's service cannot be shared by several machines")
	b.wantCalls("")
	g.Meddle(nil)
	b.mustApply()
}
