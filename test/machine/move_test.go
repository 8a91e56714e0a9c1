//go:build machine

package machine_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/redoubt-registry/redoubt/test/machine"
)

// docs/moving.md, and the commands of "Checking" in docs/storage.md, as a reader
// runs them.
func TestPageOfMoving(t *testing.T) {
	lan := machine.NewLan(t)
	store, bucket, _ := bucketOn(t, lan)
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = lan.Boot(1, append(machine.Network(), machine.Seed(userData(s.aliceHash))...)...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("after boot")
	type pushed struct {
		name.Reference
		v1.Image
	}
	var images []pushed
	push := func(ref string) {
		r, image := s.push(ref, 3)
		images = append(images, pushed{r, image})
	}
	pullAll := func() {
		for _, i := range images {
			s.mustPull(i.Reference, i.Image)
		}
	}
	push("team/app:1")
	push("team/worker:1")
	text := fmt.Sprintf("storage: {s3: {bucket: %s, endpoint: \"http://%s:9000\", accessKey: %s, secretKey: %s, root: elsewhere}}\n",
		bucket, machine.LanAddress, store.AccessKey, store.SecretKey)
	s.Write("/etc/redoubt/elsewhere.yaml", text, 0o600)

	d := newDeskIn(t, lan.PID(), lan.Address(1))
	s.letIn(d.key(t), "debian")
	p := &page{site: s, desk: d, replace: strings.NewReplacer("example-images", bucket, "https://s3.example.com", "http://"+machine.LanAddress+":9000",
		"AKIAEXAMPLEEXAMPLE00", store.AccessKey, "replace/this/with/the/secret/of/your/key", store.SecretKey, "s3:\n", "s3:\n      redirect: false\n"),
		before: map[string]func(){}}
	p.before["90-read-only.yaml <<"] = func() { push("team/app:late") } // caught up with
	p.before["50-storage.yaml\nsudo rm"] = func() {
		pullAll()
		req := request("/v2/team/app/blobs/uploads/")
		req.Method = http.MethodPost
		answer, err := machine.Do(s.transport, req)
		if err != nil || answer.Status != http.StatusMethodNotAllowed {
			t.Errorf("a push while it is read-only: %v %+v", err, answer)
		}
	}
	p.before["--to /var/lib/redoubt/registry --verify"] = func() {
		s.Run("rm", "-r", "/var/lib/redoubt/registry/docker")
		pullAll()
		push("team/app:bucket")
	}
	p.read(t, "moving.md")
	pullAll()
	push("team/app:1") // what was copied is the registry's own
	push("team/other:1")
	if out := s.Run("redoubt", "storage", "scrub", "--storage", "/etc/redoubt/elsewhere.yaml", "--rate", "0"); !strings.Contains(out, " 0 faults") {
		t.Error(out)
	}
	p.checking(t)
}

// checking runs the commands of docs/storage.md that check.
func (p *page) checking(t *testing.T) {
	t.Helper()
	p.readSection(t, "storage.md", "Checking")
	p.Run("systemctl", "start", "storage-scrub.service")
	damaged := p.Run("sh", "-ec", "find /var/lib/redoubt/registry/docker/registry/v2/blobs -name data -size +50k | head -n 1")
	p.Run("truncate", "--size=10", damaged)
	if out, err := p.TryRun("systemctl", "start", "storage-scrub.service"); err == nil {
		t.Errorf("a damaged blob was not found: %s", out)
	}
	p.Eventually("the alert", func() bool {
		return strings.Contains(p.Run("journalctl", "--no-pager", "--output=cat"), "storage-scrub.service")
	})
	if out := p.Run("journalctl", "--no-pager", "--output=cat", "--unit=storage-scrub.service"); !strings.Contains(out, "is damaged; delete docker/registry/v2/blobs/") {
		t.Error(out)
	}
	p.Run("rm", damaged)
	p.Run("systemctl", "reload", "redoubt-registry")
}
