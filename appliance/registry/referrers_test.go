package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// artifact is a manifest without layers, which may refer to another one.
func artifact(kind string, subject *v1.Descriptor, note string) v1.Manifest {
	return v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: kind,
		Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{}, Subject: subject, Annotations: map[string]string{"note": note},
	}
}

// attach pushes an artifact by its digest.
func (m *machine) attach(t testing.TB, repo, kind string, subject *v1.Descriptor, note string) digest.Digest {
	t.Helper()
	manifest := artifact(kind, subject, note)
	data, err := json.Marshal(manifest)
	check(t, err)
	a, d := m.putManifest(t, repo, digest.FromBytes(data).String(), v1.MediaTypeImageManifest, manifest)
	if a.StatusCode != http.StatusCreated {
		t.Errorf("%s: %s %s", note, a.Status, a.body)
	}
	if subject != nil && a.Header.Get("OCI-Subject") != subject.Digest.String() {
		t.Errorf("%s: OCI-Subject is %q", note, a.Header.Get("OCI-Subject"))
	}
	return d
}

// referrers gives the notes of what refers to a digest, by as many pages as there are.
func (m *machine) referrers(t testing.TB, repo string, d digest.Digest, query string) (notes []string, pages int) {
	t.Helper()
	for target := "/v2/" + repo + "/referrers/" + d.String() + query; target != ""; pages++ {
		a := m.get(t, target)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != v1.MediaTypeImageIndex {
			t.Fatalf("%s: %s %v %s", target, a.Status, a.Header, a.body)
		}
		if filtered := a.Header.Get("OCI-Filters-Applied") == "artifactType"; filtered != strings.Contains(query, "artifactType") {
			t.Errorf("%s: %v", target, a.Header)
		}
		var index v1.Index
		check(t, json.Unmarshal([]byte(a.body), &index))
		for _, one := range index.Manifests {
			notes = append(notes, one.Annotations["note"])
			if one.Size == 0 || one.MediaType != v1.MediaTypeImageManifest || one.ArtifactType == "" {
				t.Errorf("%+v", one)
			}
		}
		link := a.Header.Get("Link")
		target = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
	slices.Sort(notes)
	return notes, pages
}

// subject pushes what others refer to.
func (m *machine) subject(t testing.TB, repo string) *v1.Descriptor {
	t.Helper()
	m.pushBlob(t, repo, v1.DescriptorEmptyJSON.Data)
	d := m.attach(t, repo, "application/vnd.example.image", nil, "subject")
	return &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: 1}
}

// Sixteen clients attach at once: sixteen are there, by pages and by types, until they
// are deleted; and a registry that comes to the store without our files finds them.
func TestReferrers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.memory = true
	m.config(t, "info")
	m.start(t)
	subject := m.subject(t, "app")
	const all = 16
	var want []string
	var group sync.WaitGroup
	digests := make([]digest.Digest, all)
	for n := range all {
		want = append(want, fmt.Sprintf("%02d", n))
		group.Go(func() {
			digests[n] = m.attach(t, "app", []string{"a/signature", "a/list"}[n%2], subject, fmt.Sprintf("%02d", n))
		})
	}
	group.Wait()
	found := func(when string, want []string) {
		t.Helper()
		if got, pages := m.referrers(t, "app", subject.Digest, ""); !slices.Equal(got, want) || pages != 1 {
			t.Errorf("%s: %v by %d pages", when, got, pages)
		}
	}
	found("attached", want)
	if got, pages := m.referrers(t, "app", subject.Digest, "?n=5"); !slices.Equal(got, want) || pages != 4 {
		t.Errorf("by pages: %v by %d", got, pages)
	}
	if got, pages := m.referrers(t, "app", subject.Digest, "?n=8&artifactType="+url.QueryEscape("a/list")); len(got) != 8 || got[0] != "01" || pages != 1 {
		t.Errorf("of a type: %v by %d pages", got, pages)
	}
	if got, _ := m.referrers(t, "other", subject.Digest, ""); len(got) != 0 {
		t.Errorf("in another repository: %v", got)
	}
	a, err := m.do(http.MethodDelete, "https://"+m.host()+"/v2/app/manifests/"+digests[0].String(), nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("DELETE: %s %s", a.Status, a.body)
	}
	found("one is deleted", want[1:])
	check(t, os.RemoveAll(m.path("store/docker/registry/v2/repositories/app/_manifests/referrers")))
	m.reload(t)
	found("the files are gone", want[1:])
}

// Only who may pull finds out what refers to an image.
func TestReferrersAskForALogin(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	target := "https://" + m.host() + "/v2/app/referrers/" + digest.FromString("x").String()
	a, err := m.do(http.MethodGet, target, nil, "Authorization", "")
	check(t, err)
	if a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") || !strings.Contains(a.body, "UNAUTHORIZED") {
		t.Errorf("%s %v %s", a.Status, a.Header, a.body)
	}
	if a := m.get(t, strings.TrimPrefix(target, "https://"+m.host())); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"manifests":[]`) {
		t.Errorf("nothing refers to it: %s %s", a.Status, a.body)
	}
}

// What a client lists in a tag of its own is found as well, and the tag stays.
func TestReferrersOfATag(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	subject := m.subject(t, "app")
	attached := m.attach(t, "app", "a/signature", nil, "by the tag") // without a subject
	tag := "sha256-" + subject.Digest.Encoded()
	list := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{
		{MediaType: v1.MediaTypeImageManifest, Digest: attached, Size: 1, ArtifactType: "a/signature"},
		{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromString("gone"), Size: 1, ArtifactType: "a/signature"},
	}}
	if a, _ := m.putManifest(t, "app", tag, v1.MediaTypeImageIndex, list); a.StatusCode != http.StatusCreated {
		t.Fatalf("the tag: %s %s", a.Status, a.body)
	}
	m.attach(t, "app", "a/signature", subject, "by the API")
	if got, _ := m.referrers(t, "app", subject.Digest, ""); !slices.Equal(got, []string{"by the API", "by the tag"}) {
		t.Errorf("%v", got)
	}
	if a := m.get(t, "/v2/app/manifests/"+tag); a.StatusCode != http.StatusOK || !strings.Contains(a.body, attached.String()) {
		t.Errorf("the tag: %s %s", a.Status, a.body)
	}
}

// Of two clients that write one tag the one that has not seen the other's is told.
func TestATagIsWrittenUnderACondition(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.config(t, "info")
	m.start(t)
	m.pushBlob(t, "app", v1.DescriptorEmptyJSON.Data)
	put := func(note, header, value string) (answer, string) {
		data, err := json.Marshal(artifact("a/b", nil, note))
		check(t, err)
		a, err := m.do(http.MethodPut, "https://"+m.host()+"/v2/app/manifests/list", strings.NewReader(string(data)),
			"Content-Type", v1.MediaTypeImageManifest, header, value)
		check(t, err)
		return a, `"` + digest.FromBytes(data).String() + `"`
	}
	var last string
	for _, c := range []struct {
		note, header, value string
		status              int
	}{
		{"nothing is there", "If-Match", "*", 412},
		{"the first", "If-None-Match", "*", 201},
		{"again the first", "If-None-Match", "*", 412},
		{"the second", "If-Match", "LAST", 201},
		{"of another", "If-Match", `"sha256:00"`, 412},
		{"not the same", "If-None-Match", "LAST", 412},
		{"the third", "X-Nothing", "", 201},
	} {
		a, tag := put(c.note, c.header, strings.ReplaceAll(c.value, "LAST", last))
		if a.StatusCode != c.status || c.status == 412 && !strings.Contains(a.body, "PRECONDITION_FAILED") {
			t.Errorf("%s: %s %s", c.note, a.Status, a.body)
		}
		if c.status == 201 {
			if last = tag; a.Header.Get("ETag") != tag {
				t.Errorf("%s: ETag %s, want %s", c.note, a.Header.Get("ETag"), tag)
			}
		}
	}
}
