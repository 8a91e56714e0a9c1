package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// open begins an upload and gives its address.
func (m *machine) open(t testing.TB, repo string) string {
	t.Helper()
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+repo+"/blobs/uploads/", nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("POST: %s %s", a.Status, a.body)
	}
	return a.Header.Get("Location")
}

// chunk sends a part of an upload and gives the address for the next.
func (m *machine) chunk(t testing.TB, location string, data []byte) string {
	t.Helper()
	a, err := m.do(http.MethodPatch, location, bytes.NewReader(data))
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("PATCH: %s %s", a.Status, a.body)
	}
	return a.Header.Get("Location")
}

// end ends an upload.
func (m *machine) end(location string, data []byte, d digest.Digest) (answer, error) {
	return m.do(http.MethodPut, location+"&digest="+d.String(), bytes.NewReader(data))
}

// pushBlob pushes a blob as docker does.
func (m *machine) pushBlob(t testing.TB, repo string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	a, err := m.end(m.chunk(t, m.open(t, repo), data), nil, d)
	check(t, err)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", a.Status, a.body)
	}
	return d
}

// noise is data that is not the same twice.
func noise(size int) []byte {
	data := make([]byte, size)
	source := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%032d", time.Now().UnixNano()))))
	_, _ = io.ReadFull(source, data) // it has no end
	return data
}

const anyManifest = v1.MediaTypeImageManifest + ", " + v1.MediaTypeImageIndex

// putManifest sends a manifest of a type.
func (m *machine) putManifest(t testing.TB, repo, reference, mediaType string, manifest any) (answer, digest.Digest) {
	t.Helper()
	data, err := json.Marshal(manifest)
	check(t, err)
	a, err := m.do(http.MethodPut, "https://"+m.host()+"/v2/"+repo+"/manifests/"+reference, bytes.NewReader(data), "Content-Type", mediaType)
	check(t, err)
	return a, digest.FromBytes(data)
}
