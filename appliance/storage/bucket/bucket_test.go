//go:build integration

package bucket_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/stores"
)

const mib = 1 << 20

// each runs a test against both stores.
func each(t *testing.T, f func(t *testing.T, s *stores.Store)) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, start(t))
		})
	}
}

// params are distribution's parameters for a store.
func params(s *stores.Store, name string) map[string]any {
	return map[string]any{
		"bucket": name, "region": s.Region, "regionendpoint": s.Endpoint, "rootdirectory": "/some/root/",
		"accesskey": s.AccessKey, "secretkey": s.SecretKey,
	}
}

func noise(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestObjects(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := t.Context()
		b := open(t, params(s, s.NewBucket(t)))
		data := noise(t, 100_000)
		etag, err := b.Put(ctx, "a/one", data, bucket.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		o, err := b.Head(ctx, "a/one")
		if err != nil || o.Size != 100_000 || o.ETag != etag || time.Since(o.Modified) > time.Hour {
			t.Errorf("head gave %+v, %v, after ETag %s", o, err, etag)
		}
		for _, c := range []struct{ offset, length, from, to int64 }{
			{0, -1, 0, 100_000}, {0, 10, 0, 10}, {99_990, -1, 99_990, 100_000}, {99_990, 100, 99_990, 100_000}, {100_000, -1, 0, 0}, {200_000, -1, 0, 0}, {5, 0, 0, 0},
		} {
			r, o, err := b.Get(ctx, "a/one", c.offset, c.length)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			got, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(got, data[c.from:c.to]) || o.Size != 100_000 {
				t.Errorf("%+v: %d bytes of %d, %v", c, len(got), o.Size, err)
			}
		}
		if _, _, err := b.Get(ctx, "a/none", 0, -1); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("a missing object gave %v", err)
		}
		if _, err := b.Head(ctx, "a"); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("a directory gave %v", err)
		}
		if err := b.Copy(ctx, "a/one", "b/two"); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"a/b/three", "a/b/four", "ab"} {
			if _, err := b.Put(ctx, k, nil, bucket.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct{ prefix, after, delimiter, want string }{
			{"", "", "", "a/b/four a/b/three a/one ab b/two"},
			{"a/", "", "", "a/b/four a/b/three a/one"},
			{"a/", "a/b/four", "", "a/b/three a/one"},
			{"", "", "/", "a/ ab b/"},
			{"a/", "", "/", "a/b/ a/one"},
			{"none", "", "", ""},
		} {
			if got := list(t, b, c.prefix, c.after, c.delimiter); got != c.want {
				t.Errorf("the list of %+v is %q", c, got)
			}
		}
		if err := b.Delete(ctx, "a/one", "a/none", "a/b/four"); err != nil {
			t.Error(err)
		}
		if err := b.Delete(ctx, "a/none"); err != nil {
			t.Error(err)
		}
		if err := b.DeletePrefix(ctx, "a/"); err != nil {
			t.Error(err)
		}
		if got := list(t, b, "", "", ""); got != "ab b/two" {
			t.Errorf("%q is left", got)
		}
		if at, err := b.Time(ctx); err != nil || time.Since(at).Abs() > time.Hour {
			t.Errorf("the store's time is %v, %v", at, err)
		}
	})
}

func list(t *testing.T, b *bucket.Bucket, prefix, after, delimiter string) string {
	t.Helper()
	var keys []string
	for o, err := range b.List(t.Context(), prefix, after, delimiter) {
		if err != nil {
			t.Fatal(err)
		}
		if o.Prefix != strings.HasSuffix(o.Key, "/") {
			t.Errorf("%+v", o)
		}
		keys = append(keys, o.Key)
	}
	return strings.Join(keys, " ")
}

func TestListsOfMoreThanOnePage(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		b := open(t, params(s, s.NewBucket(t)))
		var want []string
		for i := range 1203 {
			key := fmt.Sprintf("many/%04d", i)
			want = append(want, key)
			if _, err := b.Put(t.Context(), key, []byte("x"), bucket.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := list(t, b, "many/", "", ""); got != strings.Join(want, " ") {
			t.Errorf("%d keys instead of %d", len(strings.Fields(got)), len(want))
		}
		if err := b.DeletePrefix(t.Context(), "many/"); err != nil {
			t.Fatal(err)
		}
		if got := list(t, b, "", "", ""); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestConditions(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := t.Context()
		b := open(t, params(s, s.NewBucket(t)))
		first, err := b.Put(ctx, "state", []byte("one"), bucket.Condition{IfNoneMatch: "*"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(ctx, "state", []byte("two"), bucket.Condition{IfNoneMatch: "*"}); !errors.Is(err, bucket.ErrConflict) {
			t.Errorf("a second create gave %v", err)
		}
		if _, err := b.Put(ctx, "state", []byte("two"), bucket.Condition{IfMatch: first}); err != nil {
			t.Error(err)
		}
		if _, err := b.Put(ctx, "state", []byte("three"), bucket.Condition{IfMatch: first}); !errors.Is(err, bucket.ErrConflict) {
			t.Errorf("a swap of what is old gave %v", err)
		}
		if data, _, err := b.ReadAll(ctx, "state", 100); err != nil || string(data) != "two" {
			t.Errorf("%q, %v", data, err)
		}
	})
}

func TestUploadsInParts(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := t.Context()
		p := params(s, s.NewBucket(t))
		p["multipartcopythresholdsize"], p["multipartcopychunksize"] = 5*mib, 5*mib
		b := open(t, p)
		data := noise(t, 12*mib)
		m, err := b.CreateMultipart(ctx, "big")
		if err != nil {
			t.Fatal(err)
		}
		var parts []bucket.Part
		for i := range 3 {
			part, err := b.UploadPart(ctx, m, int32(i+1), data[i*5*mib:min((i+1)*5*mib, len(data))])
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, part)
		}
		again, err := b.Multiparts(ctx, "big")
		if err != nil || len(again) != 1 || again[0].ID != m.ID || again[0].Key != "big" {
			t.Fatalf("the uploads are %+v, %v; not %+v", again, err, m)
		}
		listed, err := b.Parts(ctx, &again[0])
		if err != nil || !slices.Equal(listed, parts) {
			t.Errorf("the parts are %+v, %v; not %+v", listed, err, parts)
		}
		if _, err := b.CompleteMultipart(ctx, m, parts); err != nil {
			t.Fatal(err)
		}
		if err := b.Copy(ctx, "big", "big2"); err != nil {
			t.Fatal(err)
		}
		got, _, err := b.ReadAll(ctx, "big2", 12*mib)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if m, err = b.CreateMultipart(ctx, "gone"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.AbortMultipart(ctx, m); err != nil {
				t.Error(err)
			}
		}
		if _, err := b.Parts(ctx, &m); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("the parts of what was aborted: %v", err)
		}
	})
}

// A part that is changed on its way is refused: by its CRC32C, since its
// SHA-256 is not in the signature.
func TestPartsAreChecked(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		ctx := t.Context()
		b := open(t, params(s, s.NewBucket(t)))
		m, err := b.CreateMultipart(ctx, "big")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.UploadPartWithSum(b, ctx, m, 1, noise(t, 1000), 12345); err == nil {
			t.Error("a part with a wrong checksum is taken")
		}
	})
}

func TestPresign(t *testing.T) {
	each(t, func(t *testing.T, s *stores.Store) {
		b := open(t, params(s, s.NewBucket(t)))
		if _, err := b.Put(t.Context(), "x", []byte("hello"), bucket.Condition{}); err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			url, err := b.Presign(t.Context(), method, "x", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK || answer.ContentLength != 5 {
				t.Errorf("%s gave %s with %d bytes", method, answer.Status, answer.ContentLength)
			}
		}
		if _, err := b.Presign(t.Context(), http.MethodPut, "x", time.Minute); err == nil {
			t.Error("a PUT is signed")
		}
	})
}

func TestPresignUnderAnotherName(t *testing.T) {
	b := open(t, map[string]any{"bucket": "b", "regionendpoint": "http://10.0.0.1:9000", "accesskey": "a", "secretkey": "s", "redirectendpoint": "https://images.example.com"})
	url, err := b.Presign(t.Context(), http.MethodGet, "x", time.Minute)
	if err != nil || !strings.HasPrefix(url, "https://images.example.com/b/x?") {
		t.Errorf("%s, %v", url, err)
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, paths.S3Credential)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if got := bucket.CredentialFile(); got != paths.S3Keys {
		t.Errorf("the file is %s", got)
	}
	if err := os.WriteFile(file, []byte(`{"accessKey":"from-file","secretKey":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := bucket.CredentialFile(); got != file {
		t.Errorf("the file is %s", got)
	}
	for _, c := range []struct {
		params map[string]any
		want   string
	}{{nil, "from-file"}, {map[string]any{"accesskey": "own", "secretkey": "y"}, "own"}} {
		p, err := bucket.Credentials(c.params, file, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Retrieve(context.Background()); err != nil || got.AccessKeyID != c.want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for content, params := range map[string]map[string]any{
		`{"accessKey":"lonely"}`: nil, `secret-but-not-json`: nil, `{}`: nil, `{"accessKey":"a","secretKey":"b"}`: {"accesskey": "a"},
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Credentials(params, file, ""); err == nil || strings.Contains(err.Error(), "secret-but") {
			t.Errorf("%s gave %v", content, err)
		}
	}
	if _, err := bucket.Credentials(nil, file+".none", ""); err == nil || !strings.Contains(err.Error(), "storage.s3.accessKey") {
		t.Errorf("no file gave %v", err)
	}
}
