//go:build machine

package machine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/stores"
	"github.com/redoubt-registry/redoubt/units"
)

// images is a disk of its own for the images, which the machine mounts at boot.
const images = `[Unit]
Description=the disk of images
[Mount]
What=tmpfs
Where=/srv/images
Type=tmpfs
Options=size=96m,mode=0755
[Install]
WantedBy=local-fs.target
`

// bootHealth starts a machine whose images are on a disk of their own, and that looks at
// it each second.
func bootHealth(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, aliceHash: hash(t)}
	files := append(machine.Network(), machine.Seed(userData(s.aliceHash)+`
  storage: {filesystem: {root: /srv/images}}
  health: {storage: {interval: 1s}}
`)...)
	files = append(files,
		machine.Plant{Path: "/etc/systemd/system/srv-images.mount", Data: []byte(images), Mode: 0o644},
		machine.Plant{Path: "/etc/systemd/system-preset/10-test.preset", Data: []byte("enable srv-images.mount\n"), Mode: 0o644},
	)
	s.Machine = machine.Boot(t, files...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("after boot")
	return s
}

// grade is what the machine takes its storage for; nothing before the first look.
func (s *site) grade() health.State {
	s.t.Helper()
	var state health.State
	out, err := s.TryRun("cat", paths.StorageState)
	if err == nil && json.Unmarshal([]byte(out), &state) != nil {
		s.t.Fatalf("the state of the storage is damaged: %s", out)
	}
	return state
}

func (s *site) awaitGrade(want health.Grade) health.State {
	s.t.Helper()
	var state health.State
	s.Eventually("the storage is "+string(want), func() bool { state = s.grade(); return state.Grade == want })
	return state
}

// looks waits for so many looks more.
func (s *site) looks(n int) {
	s.t.Helper()
	for range n {
		before := s.grade().Checked
		s.Eventually("another look at the storage", func() bool { return s.grade().Checked.After(before) })
	}
}

// pushes answers how a push ends.
func (s *site) pushes() error {
	ref, err := name.ParseReference(hostname + "/other/app:v1")
	if err != nil {
		return err
	}
	image, err := random.Image(1000, 1)
	if err != nil {
		return err
	}
	return remote.Write(ref, image, append(s.options(), remote.WithRetryStatusCodes())...)
}

// slowHost gives the machine a tenth of a processor: all that answers goes on, what is
// started comes up, and nothing is called down.
func slowHost(t *testing.T, s *site) {
	watched := []string{units.Registry, units.Redis}
	var before []string
	for _, unit := range watched {
		before = append(before, s.Property(unit, "NRestarts")+" "+s.Property(unit, "MainPID"))
	}
	fast := s.Slow(0.1)
	defer fast()
	for until := time.Now().Add(25 * time.Second); time.Now().Before(until); { // two of the watchdog's periods, and more
		s.mustServe("on a slow host")
		if state := s.grade(); state.Grade != health.OK {
			t.Fatalf("the storage is called %s: %+v", state.Grade, state)
		}
	}
	if out, _ := s.TryRun("redoubt", "status"); !strings.HasPrefix(out, "ok") {
		t.Errorf("redoubt status:\n%s", out)
	}
	for i, unit := range watched {
		if now := s.Property(unit, "NRestarts") + " " + s.Property(unit, "MainPID"); now != before[i] {
			t.Errorf("%s was restarted: %s, then %s", unit, before[i], now)
		}
	}
	s.Run("systemctl", "restart", units.Registry)
	s.mustServe("after a start on a slow host")
	if out := s.Run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); out != "" {
		t.Errorf("failed units:\n%s", out)
	}
}

// TestStorageHealth takes a machine's storage through what happens to disks.
func TestStorageHealth(t *testing.T) {
	s := bootHealth(t)
	ref, image := s.push("team/app:v1", 1)
	s.awaitGrade(health.OK)
	s.looks(3)
	s.run("the unit does its work and says nothing", func(t *testing.T, s *site) {
		if out := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Health, "--unit="+units.HealthTimer, "--priority=notice"); out != "" && !strings.Contains(out, "No entries") {
			t.Errorf("the journal says:\n%s", out)
		}
		if out := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Health); out != "" && !strings.Contains(out, "No entries") {
			t.Errorf("the journal says:\n%s", out)
		}
		if out := s.Run("stat", "--format=%U %a", paths.StorageState, "/srv/images/.redoubt-storage", "/var/lib/redoubt/health/storage.json"); out != strings.TrimSpace(strings.Repeat("redoubt-registry 644\n", 3)) {
			t.Errorf("the files belong to:\n%s", out)
		}
	})
	s.run("by hand", func(t *testing.T, s *site) {
		if out := s.Run("redoubt", "health"); !strings.HasPrefix(out, "ok: /srv/images\n") || !strings.Contains(out, "The grade in force is ok, since ") {
			t.Errorf("redoubt health:\n%s", out)
		}
		var report struct {
			Grade      health.Grade
			Operations []health.Operation
		}
		if text := s.Run("redoubt", "health", "--json"); json.Unmarshal([]byte(text), &report) != nil || report.Grade != health.OK || len(report.Operations) != 6 {
			t.Errorf("redoubt health --json:\n%s", text)
		}
		if out := s.Run("find", "/srv/images", "-user", "root", "-not", "-path", "/srv/images"); out != "" {
			t.Errorf("what root did by hand is in the way of the registry: %s", out)
		}
		if out := s.Run("redoubt", "status"); !strings.Contains(out, "  health      ok since ") {
			t.Errorf("redoubt status:\n%s", out)
		}
	})
	s.run("a slow host is no fault", slowHost)
	s.run("read-only", func(t *testing.T, s *site) {
		s.Run("mount", "-o", "remount,ro", "/srv/images")
		state := s.awaitGrade(health.Degraded)
		if state.Reason != "it is read-only" || state.Error == "" {
			t.Errorf("%+v", state)
		}
		s.Eventually("pushes are refused for the grade", func() bool {
			err := s.pushes()
			return err != nil && strings.Contains(err.Error(), "takes no pushes for now, pulls go on: it is read-only")
		})
		s.mustPull(ref, image)
		s.mustServe("while no writes are taken")
		s.Eventually("the alert is out", func() bool {
			return strings.Contains(s.Run("journalctl", "--no-pager", "--output=cat", "--unit=redoubt-alert@"+units.Health+".service"), "the storage is degraded: it is read-only (/srv/images)")
		})
		if out, err := s.TryRun("redoubt", "status"); err == nil || !strings.HasPrefix(out, "degraded: ") || !strings.Contains(out, "is mounted read-only") {
			t.Errorf("redoubt status: %v\n%s", err, out)
		}
		if out := metrics(s); !strings.Contains(out, `redoubt_storage_grade{grade="degraded"} 1`) || !strings.Contains(out, `redoubt_storage_operation_failed{operation="put"} 1`) {
			t.Errorf("the metrics say nothing of it:\n%s", out)
		}
		s.looks(3)
		if n := strings.Count(s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Health), "the storage is degraded"); n != 1 {
			t.Errorf("the journal says it %d times", n)
		}
		s.Run("mount", "-o", "remount,rw", "/srv/images")
		s.awaitGrade(health.OK)
		s.Eventually("pushes are taken again", func() bool { return s.pushes() == nil })
		if out := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Health); !strings.Contains(out, "the storage is ok; it was degraded since") {
			t.Errorf("the journal says:\n%s", out)
		}
		if got := failedUnits(t, s.Machine); len(got) > 0 {
			t.Errorf("failed: %q", got)
		}
	})
	s.run("full", func(t *testing.T, s *site) {
		s.Run("sh", "-c", "head -c 200M /dev/zero >/srv/images/filler || true")
		if state := s.awaitGrade(health.Degraded); state.Reason != "it is full" {
			t.Errorf("%+v", state)
		}
		s.mustPull(ref, image)
		if err := s.pushes(); err == nil {
			t.Error("a push onto a full disk")
		}
		s.Run("rm", "/srv/images/filler")
		s.awaitGrade(health.OK)
		s.Eventually("pushes are taken again", func() bool { return s.pushes() == nil })
	})
	s.run("not mounted", func(t *testing.T, s *site) {
		s.Run("umount", "/srv/images")
		if state := s.awaitGrade(health.Down); state.Reason != "it is not mounted" {
			t.Errorf("%+v", state)
		}
		s.Eventually("nothing is served", func() bool {
			answer, err := machine.Do(s.transport, request("/v2/"))
			return err == nil && answer.Status == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != ""
		})
		if out := s.Run("find", "/srv/images", "-mindepth", "1"); out != "" {
			t.Errorf("something was written below the disk: %s", out)
		}
		// The disk is gone for good here, since it was of memory: a new one comes.
		s.Run("mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", "/srv/images")
		s.Run("chown", "redoubt-registry:", "/srv/images")
		s.looks(3)
		s.awaitGrade(health.Down)
		if out := s.Run("redoubt", "health", "--adopt"); !strings.HasPrefix(out, "ok: /srv/images\n") {
			t.Errorf("redoubt health --adopt:\n%s", out)
		}
		s.awaitGrade(health.OK)
		// The registry may still have the old one in its own namespace: then it refuses.
		// A push that it takes must lie on the new one.
		s.Eventually("nothing is lost to the disk that is gone", func() bool {
			return s.pushes() != nil || strings.Contains(s.Run("ls", "/srv/images"), "docker")
		})
		s.Run("systemctl", "restart", units.Registry)
		s.Eventually("pushes are taken again", func() bool { return s.pushes() == nil })
		if out := s.Run("ls", "/srv/images"); !strings.Contains(out, "docker") {
			t.Errorf("the push went elsewhere: %s", out)
		}
	})
}

// TestHealthInterval holds that the default is ten seconds, and another a drop-in.
func TestHealthInterval(t *testing.T) {
	s := boot(t)
	if got := s.Property(units.HealthTimer, "TimersMonotonic"); !strings.Contains(got, "OnUnitInactiveUSec=10s") {
		t.Errorf("the timer is %s", got)
	}
	s.configure("50-health.yaml", "redoubt: {health: {storage: {interval: 2s, threshold: 5}}}\n")
	s.mustApply()
	if got := s.Property(units.HealthTimer, "TimersMonotonic"); !strings.Contains(got, "OnUnitInactiveUSec=2s") || strings.Contains(got, "10s") {
		t.Errorf("the timer is %s", got)
	}
	s.Eventually("a look at the new interval", func() bool { return s.grade().Interval == 2*time.Second })
	s.looks(2)
	// What cannot be applied changes nothing.
	s.configure("50-health.yaml", "redoubt: {health: {storage: {interval: never}}}\n")
	if out, err := s.apply(); err == nil {
		t.Errorf("a wrong interval is applied:\n%s", out)
	}
	s.looks(2)
}

// TestBucketHealth kills the bucket of a machine: first it serves nothing and says why,
// then it comes back by itself.
func TestBucketHealth(t *testing.T) {
	lan, store := machine.NewLan(t), stores.MinIO(t)
	bucket, service := store.NewBucket(t), strings.TrimPrefix(store.Endpoint, "http://")
	lan.Forward(net.JoinHostPort(machine.LanAddress, storePort), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", service)
	})
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = lan.Boot(1, machine.Seed(userData(s.aliceHash)+fmt.Sprintf(`
  storage: {s3: {bucket: %s, endpoint: "http://%s:%s", accessKey: %s, secretKey: %s, redirect: false}}
  health: {storage: {interval: 1s}}
`, bucket, machine.LanAddress, storePort, store.AccessKey, store.SecretKey))...)
	s.awaitApply()
	s.transport = s.Transport()
	s.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.Dial(ctx, network, "127.0.0.1:443")
	}
	s.mustServe("after boot")
	ref, image := s.push("team/app:v1", 1)
	if state := s.awaitGrade(health.OK); len(state.Operations) != 6 || !strings.HasPrefix(state.Storage, "bucket "+bucket+" at ") {
		t.Errorf("%+v", state)
	}
	if out := s.Run("redoubt", "health"); !strings.HasPrefix(out, "ok: bucket "+bucket) || !strings.Contains(out, "  multipart  ") {
		t.Errorf("redoubt health:\n%s", out)
	}
	s.looks(3)
	if out := s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+units.Health); out != "" && !strings.Contains(out, "No entries") {
		t.Errorf("the journal says:\n%s", out)
	}

	store.Kill()
	if state := s.awaitGrade(health.Down); state.Reason != "it does not answer" || state.Key != "storage.s3.endpoint" {
		t.Errorf("%+v", state)
	}
	s.Eventually("nothing is served, and it says why", func() bool {
		answer, err := machine.Do(s.transport, request("/v2/"))
		return err == nil && answer.Status == http.StatusServiceUnavailable && strings.Contains(answer.Body, "it does not answer")
	})
	if out, err := s.TryRun("redoubt", "status"); err == nil || !strings.Contains(out, "the storage is down: storage.s3.endpoint: ") {
		t.Errorf("redoubt status: %v\n%s", err, out)
	}
	store.Start()
	s.awaitGrade(health.OK)
	s.Eventually("it serves again", func() bool { return s.pushes() == nil })
	s.mustPull(ref, image)
	for _, place := range []string{"cat " + paths.StorageState, "redoubt health --json", "redoubt status --json", "journalctl --namespace='*' --no-pager --all"} {
		if out, _ := s.TryRun("sh", "-c", place); out == "" || strings.Contains(out, store.SecretKey) {
			t.Errorf("the secret key is in: %s", place)
		}
	}
}
