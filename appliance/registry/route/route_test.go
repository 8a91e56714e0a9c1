package route

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

const (
	sha256ID = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	uploadID = "0f2d6a0c-9a31-4e35-8d6e-3c1f6d5b7a90"
)

func long(n int) string { return strings.Repeat("a", n) }

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		method, target, contentRange string
		status                       int // 0: it is taken
		code                         string
		want                         Request
	}{
		{"GET", "", "", 0, "", Request{Kind: Base}},
		{"POST", "", "", 405, "UNSUPPORTED", Request{Kind: Base}},
		{"GET", "_catalog", "", 0, "", Request{Kind: Catalog, Page: Page{N: All}}},
		{"GET", "_catalog?n=5&last=team/app", "", 0, "", Request{Kind: Catalog, Page: Page{5, "team/app"}}},
		{"GET", "_catalog?n=99999999999999999999", "", 0, "", Request{Kind: Catalog, Page: Page{N: 1<<31 - 1}}},
		{"GET", "_catalog?n=-1", "", 400, "PAGINATION_NUMBER_INVALID", Request{}},
		{"GET", "_catalog?n=1e3", "", 400, "PAGINATION_NUMBER_INVALID", Request{}},
		{"GET", "_catalog?last=%00", "", 400, "NAME_INVALID", Request{}},
		{"GET", "_catalog?last=" + long(300), "", 400, "NAME_INVALID", Request{}},
		{"HEAD", "_catalog", "", 405, "UNSUPPORTED", Request{}},
		{"GET", "app/tags/list", "", 0, "", Request{Kind: Tags, Name: "app", Page: Page{N: All}}},
		{"GET", "app/tags/list?n=0&last=v1", "", 0, "", Request{Kind: Tags, Name: "app", Page: Page{0, "v1"}}},
		{"GET", "app/tags/list?last=%00", "", 400, "TAG_INVALID", Request{}},
		{"GET", "app/tags/list?last=" + long(300), "", 400, "TAG_INVALID", Request{}},
		{"GET", "app/tags/list?n=x", "", 400, "PAGINATION_NUMBER_INVALID", Request{}},
		{"HEAD", "app/tags/list", "", 405, "UNSUPPORTED", Request{}},
		{"GET", "Upper/tags/list", "", 400, "NAME_INVALID", Request{}},
		{"GET", "tags/list", "", 400, "NAME_INVALID", Request{}},
		{"GET", long(255) + "/tags/list", "", 0, "", Request{Kind: Tags, Name: long(255), Page: Page{N: All}}},
		{"GET", long(256) + "/tags/list", "", 400, "NAME_INVALID", Request{}},
		{"POST", long(256) + "/blobs/uploads/", "", 400, "NAME_INVALID", Request{}},
		{"GET", "a/../b/tags/list", "", 400, "NAME_INVALID", Request{}},
		{"GET", "a%00/tags/list", "", 400, "NAME_INVALID", Request{}},
		{"GET", "app/tags/list/", "", 404, "UNSUPPORTED", Request{}},
		{"GET", "app/referrers/" + sha256ID, "", 0, "", Request{Kind: Referrers, Name: "app", Digest: sha256ID, Page: Page{N: All}}},
		{"GET", "app/referrers/" + sha256ID + "?artifactType=a/b&n=2&last=" + sha256ID, "", 0, "",
			Request{Kind: Referrers, Name: "app", Digest: sha256ID, Type: "a/b", Page: Page{2, sha256ID}}},
		{"GET", "app/referrers/" + sha256ID + "?last=v1", "", 400, "DIGEST_INVALID", Request{}},
		{"GET", "app/referrers/v1", "", 400, "DIGEST_INVALID", Request{}},
		{"PUT", "app/referrers/" + sha256ID, "", 405, "UNSUPPORTED", Request{}},
		{"GET", "tags/manifests/list", "", 0, "", Request{Kind: Manifest, Name: "tags", Tag: "list"}},
		{"GET", "blobs/uploads/manifests/tags/list", "", 0, "", Request{Kind: Tags, Name: "blobs/uploads/manifests", Page: Page{N: All}}},
		{"PUT", "team/app/manifests/v1.0_x-", "", 0, "", Request{Kind: Manifest, Name: "team/app", Tag: "v1.0_x-"}},
		{"GET", "app/manifests/" + sha256ID, "", 0, "", Request{Kind: Manifest, Name: "app", Digest: sha256ID}},
		{"PUT", "app/manifests/" + sha256ID + "?tag=a&tag=b", "", 0, "", Request{Kind: Manifest, Name: "app", Digest: sha256ID, Tags: []string{"a", "b"}}},
		{"PUT", "app/manifests/" + sha256ID + "?tag=.a", "", 400, "TAG_INVALID", Request{}},
		{"PUT", "app/manifests/" + sha256ID + "?" + strings.Repeat("tag=a&", 101), "", 413, "TAG_INVALID", Request{}},
		{"PUT", "app/manifests/v1?tag=b", "", 0, "", Request{Kind: Manifest, Name: "app", Tag: "v1"}},
		{"GET", "app/manifests/sha256:00", "", 400, "DIGEST_INVALID", Request{}},
		{"GET", "app/manifests/" + long(129), "", 404, "TAG_INVALID", Request{}},
		{"PUT", "app/manifests/" + long(129), "", 400, "TAG_INVALID", Request{}},
		{"PUT", "app/manifests/.x", "", 400, "TAG_INVALID", Request{}},
		{"DELETE", "app/manifests/", "", 400, "TAG_INVALID", Request{}},
		{"POST", "app/manifests/v1", "", 405, "UNSUPPORTED", Request{}},
		{"GET", "app/blobs/" + sha256ID, "", 0, "", Request{Kind: Blob, Name: "app", Digest: sha256ID}},
		{"GET", "app/blobs/" + strings.ToUpper(sha256ID), "", 400, "DIGEST_INVALID", Request{}},
		{"GET", "app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "", 400, "DIGEST_INVALID", Request{}},
		{"PUT", "app/blobs/" + sha256ID, "", 405, "UNSUPPORTED", Request{}},
		{"POST", "app/blobs/uploads/", "", 0, "", Request{Kind: Upload, Name: "app"}},
		{"POST", "app/blobs/uploads", "", 0, "", Request{Kind: Upload, Name: "app"}},
		{"POST", "app/blobs/uploads/?digest=" + sha256ID, "", 0, "", Request{Kind: Upload, Name: "app", Digest: sha256ID}},
		{"POST", "app/blobs/uploads/?from=a&mount=" + sha256ID, "", 0, "", Request{Kind: Upload, Name: "app", Mount: sha256ID, From: "a"}},
		{"POST", "app/blobs/uploads/?mount=no", "", 0, "", Request{Kind: Upload, Name: "app"}},
		{"POST", "app/blobs/uploads/?digest=no", "", 400, "DIGEST_INVALID", Request{}},
		{"GET", "app/blobs/uploads/", "", 405, "UNSUPPORTED", Request{}},
		{"PATCH", "app/blobs/uploads/" + uploadID, "0-9", 0, "", Request{Kind: Upload, Name: "app", ID: uploadID}},
		{"PATCH", "app/blobs/uploads/" + uploadID, "-5-7", 400, "BLOB_UPLOAD_INVALID", Request{}},
		{"PATCH", "app/blobs/uploads/" + uploadID, "bytes 0-9/*", 400, "BLOB_UPLOAD_INVALID", Request{}},
		{"PUT", "app/blobs/uploads/" + uploadID, "0-99999999999999999999", 400, "BLOB_UPLOAD_INVALID", Request{}},
		{"PUT", "app/blobs/uploads/" + uploadID + "?digest=" + sha256ID, "", 0, "", Request{Kind: Upload, Name: "app", ID: uploadID, Digest: sha256ID}},
		{"POST", "app/blobs/uploads/" + uploadID, "", 405, "UNSUPPORTED", Request{}},
		{"PATCH", "app/blobs/uploads/..", "", 404, "BLOB_UPLOAD_UNKNOWN", Request{}},
		{"PATCH", "app/blobs/uploads/" + long(300), "", 404, "BLOB_UPLOAD_UNKNOWN", Request{}},
		{"GET", "app", "", 404, "UNSUPPORTED", Request{}},
	} {
		u, err := url.Parse("/v2/" + tc.target)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if tc.contentRange != "" {
			header.Set("Content-Range", tc.contentRange)
		}
		rest := strings.TrimPrefix(u.Path, "/v2/")
		got, refusal := Parse(tc.method, rest, u.Query(), header)
		switch {
		case tc.status == 0 && (refusal != nil || !reflect.DeepEqual(got, tc.want)):
			t.Errorf("%s %s: %+v %+v, want %+v", tc.method, tc.target, got, refusal, tc.want)
		case tc.status != 0 && (refusal == nil || refusal.Status != tc.status || refusal.Code != tc.code || refusal.Message == ""):
			t.Errorf("%s %s: %+v %+v, want %d %s", tc.method, tc.target, got, refusal, tc.status, tc.code)
		case refusal == nil && got.Path() != rest && got.Path() != rest+"/":
			t.Errorf("%s %s: its path is %s", tc.method, tc.target, got.Path())
		}
		if refusal != nil && (refusal.Status == http.StatusMethodNotAllowed) != (refusal.Allow != "") {
			t.Errorf("%s %s: %+v", tc.method, tc.target, refusal)
		}
	}
}

func TestPageQuery(t *testing.T) {
	for want, page := range map[string]Page{
		"":              {N: All},
		"last=a":        {N: All, Last: "a"},
		"n=7":           {N: 7},
		"last=b&n=1000": {N: 5000, Last: "b"},
		"n=0":           {N: 0},
	} {
		if got := page.Query(1000); got != want {
			t.Errorf("%+v is %s, want %s", page, got, want)
		}
	}
	if got := (Page{N: 5000}).Query(0); got != "n=5000" {
		t.Errorf("without a maximum: %s", got)
	}
}

// FuzzParse holds that nothing panics, and that what is taken is nothing that a
// store could stumble over.
func FuzzParse(f *testing.F) {
	for _, target := range []string{"", "_catalog?n=1&last=a", "a/tags/list?last=%00", "a/manifests/" + sha256ID, "a/manifests/v1",
		"a/blobs/uploads/" + uploadID + "?digest=" + sha256ID, "a/blobs/uploads", "a/../b/tags/list", "a//b/blobs/" + sha256ID} {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH"} {
			f.Add(method, target, "0-1")
		}
	}
	f.Fuzz(func(t *testing.T, method, target, contentRange string) {
		rest, query, _ := strings.Cut(target, "?")
		values, _ := url.ParseQuery(query)
		q, refusal := Parse(method, rest, values, http.Header{"Content-Range": {contentRange}})
		if refusal != nil {
			if refusal.Status < 400 || refusal.Status >= 500 || refusal.Code == "" {
				t.Errorf("%q: %+v", target, refusal)
			}
			return
		}
		if q.Kind != Of(rest) {
			t.Errorf("%q is %s and %s", target, q.Kind, Of(rest))
		}
		again, refusal := Parse(method, q.Path(), values, http.Header{})
		if refusal != nil || !reflect.DeepEqual(again, q) {
			t.Errorf("%q: %+v, and its path %q: %+v %+v", target, q, q.Path(), again, refusal)
		}
		for _, text := range []string{q.Name, q.Tag, string(q.Digest), q.ID, q.Page.Last} {
			if len(text) > 255 || strings.Contains(text, "..") && text != q.Tag && text != q.Page.Last || strings.ContainsAny(text, "\x00\\ %\n") ||
				strings.HasPrefix(text, "/") || strings.Contains(text, "//") {
				t.Errorf("%q is taken: %q", target, text)
			}
		}
	})
}
