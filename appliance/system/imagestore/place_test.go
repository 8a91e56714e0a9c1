//go:build integration

package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/layout"
	"github.com/redoubt-registry/redoubt/test/stores"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// usable puts a file in a place and finds it there.
func usable(t *testing.T, p *Place) {
	t.Helper()
	ctx := context.Background()
	check(t, p.Driver.PutContent(ctx, layout.TagPath("app", "1"), []byte("x")))
	var found []string
	check(t, layout.EachRepository(ctx, p.Driver, func(name string) error {
		found = append(found, name)
		return nil
	}))
	if len(found) != 1 || found[0] != "app" {
		t.Errorf("found %q", found)
	}
}

func TestConfigured(t *testing.T) {
	root := t.TempDir()
	store := stores.MinIO(t)
	name := store.NewBucket(t)
	s3 := fmt.Sprintf("{bucket: %s, region: %s, regionendpoint: %q, rootdirectory: /a", name, store.Region, store.Endpoint)
	for what, text := range map[string]string{
		"a directory":             "{rootdirectory: " + root + "}",
		"a bucket, keys overlaid": s3 + ", accesskey: " + store.AccessKey + ", secretkey: " + store.SecretKey + "}",
		"a bucket":                s3 + "b}",
	} {
		kind := "s3"
		if strings.Contains(text, root) {
			kind = "filesystem"
		}
		file := write(t, "registry.yml", "version: 0.1\nstorage:\n  "+kind+": "+text+"\n  delete: {enabled: true}\n  maintenance: {readonly: {enabled: true}}\n")
		credentials := t.TempDir()
		data, err := json.Marshal(map[string]string{"accessKey": store.AccessKey, "secretKey": store.SecretKey})
		check(t, err)
		check(t, os.WriteFile(filepath.Join(credentials, paths.S3Credential), data, 0o600))
		t.Setenv("CREDENTIALS_DIRECTORY", credentials)
		p, err := Finder{Registry: file}.Open(context.Background(), Configured)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		usable(t, p)
	}
	for text, want := range map[string]string{
		"storage: {}": "it is not the registry's configuration",
		"storage: [":  "it is not the registry's configuration",
		"version: 0.1\nstorage: {filesystem: {}}":           "the storage has no root directory",
		"version: 0.1\nstorage: {gcs: {bucket: x}}":         "cannot read storage of kind gcs",
		"version: 0.1\nstorage: {s3: {region: x}}":          "storage.s3.bucket: it is missing",
		"version: 0.1\nstorage: {s3: {}, filesystem: {}}\n": "it is not the registry's configuration",
	} {
		_, err := Finder{Registry: write(t, "registry.yml", text)}.Open(context.Background(), Configured)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A file's bucket, with TLS of a CA of its own, and keys in files and credentials.
func TestFile(t *testing.T) {
	store := stores.Versity(t, stores.Options{TLS: true})
	dir, credentials := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	check(t, os.WriteFile(dir+"/key", []byte(store.SecretKey+"\n"), 0o600))
	check(t, os.WriteFile(credentials+"/id", []byte(store.AccessKey), 0o600))
	check(t, os.WriteFile(dir+"/ca.pem", []byte(store.Roots), 0o600))
	text := fmt.Sprintf("storage:\n  s3:\n    bucket: %s\n    endpoint: %s\n    accessKey: cred:id\n    secretKey: file:%s/key\n    caBundle: file:%s/ca.pem\n",
		store.NewBucket(t), store.Endpoint, dir, dir)
	f := Finder{Credentials: credentials}
	p, err := f.Open(context.Background(), write(t, "new.yaml", text))
	check(t, err)
	usable(t, p)
	whole := "#cloud-config\npackages: [x]\nredoubt:\n  hostname: a.example.com\n  httpSecret: file:/not/there\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
	other, err := f.Open(context.Background(), write(t, "user-data", whole))
	check(t, err)
	if !Same(p, other) {
		t.Errorf("%q and %q are two", p.id, other.id)
	}
	below, err := f.Open(context.Background(), write(t, "new.yaml", text+"    root: below/it\n"))
	check(t, err)
	if Same(p, below) {
		t.Error("a prefix is another storage")
	}
	for change, want := range map[string]string{
		"caBundle: file:" + dir + "/ca.pem|":    "storage.s3.caBundle: ",
		"cred:id|theirs":                        "storage.s3.accessKey: ",
		"file:" + dir + "/key|wrongwrong":       "storage.s3.secretKey: ",
		"bucket: |bucket: other-":               "storage.s3.bucket: ",
		store.Endpoint + "|https://127.0.0.1:1": "storage.s3.endpoint: ",
	} {
		from, to, _ := strings.Cut(change, "|")
		_, err := f.Open(context.Background(), write(t, "new.yaml", strings.Replace(text, from, to, 1)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), store.SecretKey) {
			t.Errorf("%s: %v", change, err)
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("%v %q", err, left)
	}
}

// The role of the machine is asked for as the registry asks for it.
func TestRole(t *testing.T) {
	store := stores.MinIO(t)
	asked := false
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = true
		_ = json.NewEncoder(w).Encode(map[string]string{"AccessKeyId": store.AccessKey, "SecretAccessKey": store.SecretKey, "Token": "", "Expiration": "2099-01-01T00:00:00Z"})
	})}
	if _, err := os.Stat(paths.RoleSocket); err == nil {
		t.Fatalf("%s exists", paths.RoleSocket)
	}
	check(t, os.MkdirAll(filepath.Dir(paths.RoleSocket), 0o755))
	listener, err := net.Listen("unix", paths.RoleSocket)
	check(t, err)
	t.Cleanup(func() {
		server.Close()
		os.RemoveAll(filepath.Dir(paths.RoleSocket))
	})
	go server.Serve(listener)
	p, err := Finder{}.Open(context.Background(), write(t, "role.yaml", fmt.Sprintf("storage: {s3: {bucket: %s, endpoint: %q, iamRole: true}}", store.NewBucket(t), store.Endpoint)))
	check(t, err)
	usable(t, p)
	if !asked {
		t.Error("the role was not asked for")
	}
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	check(t, os.MkdirAll(dir+"/one/below", 0o700))
	check(t, os.MkdirAll(dir+"/one-more", 0o700))
	check(t, os.Symlink("one", dir+"/alias"))
	open := func(name string) *Place {
		p, err := Finder{}.Open(context.Background(), name)
		check(t, err)
		return p
	}
	one := open(dir + "/one")
	for name, want := range map[string]bool{"one": true, "alias": true, "one/below": false, "one-more": false} {
		if got := Same(one, open("filesystem:"+dir+"/"+name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
