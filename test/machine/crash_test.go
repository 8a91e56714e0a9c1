//go:build machine

package machine_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// manifests is what the crowd asks for in these tests: a manifest by its tag,
// which needs the password, the storage and the cache.
func manifests() *http.Request { return request("/v2/team/app/manifests/v1") }

// clients is the size of the crowd. More of them only wait for the two cores.
const clients = 4

// TestReload reloads fifty times under load, with an upload under way: nobody
// notices.
func TestReload(t *testing.T) {
	s := boot(t)
	s.push("team/app:v1", 1)
	upload := s.startUpload()
	load := machine.StartLoad(s.transport, clients, manifests)
	before := s.Property(units.Registry, "MainPID")
	for range 50 {
		s.Run("systemctl", "reload", units.Registry)
		upload.send()
	}
	if err := load.AwaitRequests(100); err != nil {
		t.Error(err)
	}
	tally := load.Stop()
	t.Log(tally)
	if tally.Failed != 0 {
		t.Error("a reload failed requests")
	}
	if after := s.Property(units.Registry, "MainPID"); after != before {
		t.Errorf("the process changed from %s to %s: that was no reload", before, after)
	}
	upload.finish()
}

// upload is a blob on its way in, piece by piece over one connection.
type upload struct {
	s      *site
	body   *io.PipeWriter
	sent   bytes.Buffer
	answer chan machine.Answer
}

// startUpload opens an upload and the one long PATCH that carries its data.
func (s *site) startUpload() *upload {
	s.t.Helper()
	location := s.openUpload()
	r, w := io.Pipe()
	req, err := http.NewRequest(http.MethodPatch, location, r)
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("alice", alicePassword)
	req.Header.Set("Content-Type", "application/octet-stream")
	u := &upload{s: s, body: w, answer: make(chan machine.Answer, 1)}
	go func() {
		answer, err := machine.Do(s.transport, req)
		if err != nil {
			answer.Body = err.Error()
		}
		r.CloseWithError(fmt.Errorf("the upload ended: %d %s", answer.Status, answer.Body))
		u.answer <- answer
	}()
	return u
}

func (s *site) openUpload() string {
	s.t.Helper()
	req := request("/v2/team/app/blobs/uploads/")
	req.Method = http.MethodPost
	answer, err := machine.Do(s.transport, req)
	if err != nil || answer.Status != http.StatusAccepted {
		s.t.Fatalf("cannot open an upload: %v %+v", err, answer)
	}
	return absolute(answer.Header.Get("Location"))
}

// absolute completes a Location that has no host.
func absolute(location string) string {
	base, err := url.Parse("https://" + hostname)
	if err != nil {
		panic(err)
	}
	u, err := base.Parse(location)
	if err != nil {
		panic(err)
	}
	return u.String()
}

func (u *upload) send() {
	u.s.t.Helper()
	piece := bytes.Repeat([]byte{byte(u.sent.Len())}, 10_000)
	u.sent.Write(piece)
	if _, err := u.body.Write(piece); err != nil {
		u.s.t.Fatal(err)
	}
}

// finish ends the data, commits the blob and reads it back.
func (u *upload) finish() {
	u.s.t.Helper()
	u.body.Close()
	answer := <-u.answer
	if answer.Status != http.StatusAccepted {
		u.s.t.Fatalf("the upload was cut: %+v", answer)
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(u.sent.Bytes()))
	location, err := url.Parse(absolute(answer.Header.Get("Location")))
	if err != nil {
		u.s.t.Fatal(err)
	}
	q := location.Query()
	q.Set("digest", digest)
	location.RawQuery = q.Encode()
	req, err := http.NewRequest(http.MethodPut, location.String(), nil)
	if err != nil {
		u.s.t.Fatal(err)
	}
	req.SetBasicAuth("alice", alicePassword)
	if answer, err := machine.Do(u.s.transport, req); err != nil || answer.Status != http.StatusCreated {
		u.s.t.Fatalf("cannot commit the upload: %v %+v", err, answer)
	}
	got, err := machine.Do(u.s.transport, request("/v2/team/app/blobs/"+digest))
	if err != nil || got.Body != u.sent.String() {
		u.s.t.Fatalf("the blob is not what was sent: %v %d, %d bytes of %d", err, got.Status, len(got.Body), u.sent.Len())
	}
}

// TestRegistryKilled kills the registry ten times under load. Nobody is refused,
// and of a thousand requests at most one fails: those that it had in hand. Each
// client always has one there, so that two of them lose two at every kill at most.
func TestRegistryKilled(t *testing.T) {
	const kills, crowd, between = 10, 2, 2500 // requests
	s := boot(t)
	ref, image := s.push("team/app:v1", 2)
	load := machine.StartLoad(s.transport, crowd, manifests)
	for range kills {
		pid := s.Property(units.Registry, "MainPID")
		s.Run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", units.Registry)
		s.Eventually("another process runs", func() bool {
			now := s.Property(units.Registry, "MainPID")
			return now != pid && now != "0"
		})
		if err := load.AwaitRequests(between); err != nil {
			t.Fatal(err)
		}
	}
	tally := load.Stop()
	t.Log(tally)
	if tally.Refused != 0 {
		t.Error("a connection was refused")
	}
	if tally.Failed*1000 > tally.Requests {
		t.Error("more than one request in a thousand failed")
	}
	if state := s.Property(units.Registry, "ActiveState"); state != "active" {
		t.Errorf("the registry is %s", state)
	}
	s.mustPull(ref, image)
}

// TestRegistryFrozen stops the registry in its tracks: the watchdog replaces it.
func TestRegistryFrozen(t *testing.T) {
	s := boot(t)
	pid := s.Property(units.Registry, "MainPID")
	start := time.Now()
	s.Run("kill", "-STOP", pid)
	s.Eventually("another process serves", func() bool {
		now := s.Property(units.Registry, "MainPID")
		return now != pid && now != "0"
	})
	s.mustServe("after the watchdog")
	t.Logf("serving again after %v", time.Since(start))
	if state := s.Property(units.Registry, "ActiveState"); state != "active" {
		t.Errorf("the registry is %s", state)
	}
}

// TestRedisKilled kills Redis ten times under load: it is only a cache.
func TestRedisKilled(t *testing.T) {
	s := boot(t)
	s.push("team/app:v1", 1)
	load := machine.StartLoad(s.transport, clients, manifests)
	for range 10 {
		pid := s.Property(units.Redis, "MainPID")
		s.Run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", units.Redis)
		s.Eventually("another Redis runs", func() bool {
			now := s.Property(units.Redis, "MainPID")
			return now != pid && now != "0"
		})
		if err := load.AwaitRequests(50); err != nil {
			t.Fatal(err)
		}
	}
	if tally := load.Stop(); tally.Failed != 0 {
		t.Errorf("requests failed for the cache: %v", tally)
	} else {
		t.Log(tally)
	}
}

// TestRedisFrozen freezes Redis for a while: requests are served without it.
func TestRedisFrozen(t *testing.T) {
	s := boot(t)
	s.push("team/app:v1", 1)
	load := machine.StartLoad(s.transport, clients, manifests)
	if err := load.AwaitRequests(50); err != nil {
		t.Fatal(err)
	}
	pid := s.Property(units.Redis, "MainPID")
	s.Run("kill", "-STOP", pid)
	if err := load.AwaitRequests(500); err != nil {
		t.Fatal(err)
	}
	s.push("team/other:v1", 2)
	s.Run("kill", "-CONT", pid)
	if err := load.AwaitRequests(200); err != nil {
		t.Fatal(err)
	}
	if tally := load.Stop(); tally.Failed != 0 {
		t.Errorf("requests failed for the cache: %v", tally)
	} else {
		t.Log(tally)
	}
	if now := s.Property(units.Redis, "MainPID"); now != pid {
		t.Errorf("Redis was replaced: %s, was %s", now, pid)
	}
}
