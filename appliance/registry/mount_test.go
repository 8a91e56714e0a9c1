package registry

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A manifest is put by a reference to another repository, with all that it needs and what
// refers to it, by who may push here and pull there, and immutable tags stay.
func TestPutByReference(t *testing.T) {
	t.Parallel()
	m, manifests := house(t, houseRules+`, immutable: [{repositories: ["release/*"], tags: ["v*"]}]`, "team/app", "secret", "shared/base")
	transport := m.transport()
	defer transport.CloseIdleConnections()
	layer := noise(2000)
	m.pushBlob(t, "team/app", layer)
	child := artifact("text/plain", nil, "child")
	child.Layers = []v1.Descriptor{{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromBytes(layer), Size: int64(len(layer))}}
	_, childDigest := m.putManifest(t, "team/app", "child", v1.MediaTypeImageManifest, child)
	data, err := json.Marshal(child)
	check(t, err)
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex,
		Manifests: []v1.Descriptor{{MediaType: v1.MediaTypeImageManifest, Digest: childDigest, Size: int64(len(data))}}}
	if data, err = json.Marshal(index); err != nil {
		t.Fatal(err)
	}
	a, top := m.putManifest(t, "team/app", "v1", v1.MediaTypeImageIndex, index)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("the index: %s %s", a.Status, a.body)
	}
	subject := &v1.Descriptor{MediaType: v1.MediaTypeImageIndex, Digest: top, Size: int64(len(data))}
	signature := m.attach(t, "team/app", "text/signature", subject, "signed")
	_, cosigned := m.putManifest(t, "team/app", "sha256-"+childDigest.Encoded()+".sig", v1.MediaTypeImageManifest, artifact("text/plain", nil, "cosign"))

	put := func(user, target, query string) answer {
		return m.by(t, transport, user, http.MethodPut, "/v2/"+target+"?"+query, "")
	}
	by := "mount=" + top.String() + "&from=team/app"
	status := func(want int, target string) {
		t.Helper()
		if a := m.get(t, "/v2/"+target); a.StatusCode != want {
			t.Errorf("GET %s: %s, and not %d", target, a.Status, want)
		}
	}
	a = put("alice", "release/app/manifests/v1", by)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Docker-Content-Digest") != top.String() || a.Header.Get("Location") == "" {
		t.Fatalf("by reference: %s %v %s", a.Status, a.Header, a.body)
	}
	status(http.StatusOK, "release/app/manifests/v1")
	status(http.StatusOK, "release/app/manifests/"+childDigest.String())
	status(http.StatusOK, "release/app/blobs/"+digest.FromBytes(layer).String())
	status(http.StatusNotFound, "release/app/manifests/"+signature.String())
	if a = put("alice", "release/app/manifests/"+top.String(), by+"&referrers=true&tag=v1&tag=latest"); a.StatusCode != http.StatusCreated || len(a.Header.Values("OCI-Tag")) != 2 {
		t.Errorf("with what refers to it: %s %v %s", a.Status, a.Header, a.body)
	}
	status(http.StatusOK, "release/app/manifests/latest")
	status(http.StatusOK, "release/app/manifests/"+cosigned.String())
	status(http.StatusOK, "release/app/manifests/sha256-"+childDigest.Encoded()+".sig")
	if a := m.get(t, "/v2/release/app/referrers/"+top.String()); !strings.Contains(a.body, signature.String()) {
		t.Errorf("the referrers: %s %s", a.Status, a.body)
	}
	other := manifests["shared/base"].String()
	for _, c := range []struct {
		user, target, query string
		status              int
		code                string
	}{
		{"alice", "release/app/manifests/v1", "mount=" + other + "&from=shared/base", http.StatusConflict, "TAG_INVALID"},
		{"bob", "team/lib/manifests/v1", by, http.StatusCreated, ""},
		{"bob", "team/lib/manifests/base", "mount=" + other + "&from=shared/base", http.StatusCreated, ""},
		{"bob", "team/lib/manifests/v1", "mount=" + manifests["secret"].String() + "&from=secret", http.StatusForbidden, "DENIED"},
		{"bob", "team/lib/manifests/v1", "mount=" + other + "&from=nothing", http.StatusForbidden, "DENIED"},
		{"bob", "release/app/manifests/v2", by, http.StatusForbidden, "DENIED"},
		{"guest", "team/lib/manifests/v2", by, http.StatusForbidden, "DENIED"},
		{"", "team/lib/manifests/v2", by, http.StatusUnauthorized, "UNAUTHORIZED"},
		{"alice", "team/lib/manifests/v2", "mount=" + other + "&from=team/app", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"alice", "team/lib/manifests/v2", "mount=" + digest.FromBytes(layer).String() + "&from=team/app", http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{"alice", "team/lib/manifests/v2", "mount=latest&from=team/app", http.StatusBadRequest, "DIGEST_INVALID"},
		{"alice", "team/lib/manifests/" + other, by, http.StatusBadRequest, "DIGEST_INVALID"},
		{"alice", "team/lib/manifests/v2", "mount=" + top.String(), http.StatusBadRequest, "NAME_INVALID"},
	} {
		if a := put(c.user, c.target, c.query); a.StatusCode != c.status || c.code != "" && code(a) != c.code {
			t.Errorf("%s: PUT %s?%s: %s %s", c.user, c.target, c.query, a.Status, a.body)
		}
	}
	if a := m.by(t, transport, "alice", http.MethodPut, "/v2/team/lib/manifests/v2?"+by, "{}"); a.StatusCode != http.StatusBadRequest || code(a) != "MANIFEST_INVALID" {
		t.Errorf("with a body: %s %s", a.Status, a.body)
	}
	status(http.StatusNotFound, "team/lib/manifests/v2")
}
