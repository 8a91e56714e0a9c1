//go:build integration

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/seed"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// TestMain is also the program itself, when a test starts it as one.
func TestMain(m *testing.M) {
	if os.Getenv("REDOUBT_TEST_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// program is redoubt as a process of its own.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_PROGRAM=1")
	return cmd
}

// onStorage runs a verb of redoubt storage, and returns what it printed.
func onStorage(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := program(append([]string{"storage"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// images makes a directory with many images.
func images(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	registry := seed.Serve(t, seed.Directory(root))
	registry.Fill(t, 80<<20)
	for i := range 20 {
		registry.Push(t, fmt.Sprintf("many/app-%d:latest", i%5), seed.Image(t, 50_000, 3))
	}
	return root
}

// files are those below a directory with their digests, but for uploads.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "_uploads":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		data, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, root)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// bucketFile writes the file that describes a new bucket.
func bucketFile(t *testing.T, store *stores.Store, name string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "key", store.SecretKey+"\n")
	return writeFile(t, dir, name+".yaml", fmt.Sprintf("storage:\n  s3:\n    bucket: %s\n    endpoint: %s\n    accessKey: %s\n    secretKey: file:%s/key\n    root: a/b\n",
		store.NewBucket(t), store.Endpoint, store.AccessKey, dir))
}

// Whenever a copy is killed, the target is a registry in which whatever has a tag
// can be pulled; and the same command finishes the copy.
func TestCopyIsKilled(t *testing.T) {
	from := images(t)
	want := files(t, from)
	minio := stores.MinIO(t)
	for name, test := range map[string]struct {
		target func() string
		kills  int
	}{
		"directory": {func() string { return t.TempDir() }, 15},
		"bucket":    {func() string { return bucketFile(t, minio, "new") }, 10},
	} {
		t.Run(name, func(t *testing.T) {
			target := test.target()
			began := time.Now()
			if _, stderr, err := onStorage(t, "copy", "--from", from, "--to", target); err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			whole := time.Since(began)
			target = test.target()
			for kills := 0; kills < test.kills; {
				cmd := program("storage", "copy", "--from", from, "--to", target, "--parallel", "2")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				timer := time.AfterFunc(rand.N(whole), func() { _ = cmd.Process.Kill() })
				err := cmd.Wait()
				timer.Stop()
				if err == nil { // it was faster
					compare(t, want, from, target)
					target = test.target()
					continue
				}
				kills++
				stdout, stderr, err := onStorage(t, "scrub", "--rate", "0", "--json", "--storage", target)
				if err != nil && strings.Contains(stderr, "nothing below docker/registry/v2") {
					continue
				}
				if !strings.Contains(stdout, `"manifests":`) || strings.Contains(stdout, `"tags":[`) || strings.Contains(stdout, `"kind":"damaged"`) {
					t.Fatalf("after kill %d: %v\n%s%s", kills, err, stdout, stderr)
				}
			}
			if _, stderr, err := onStorage(t, "copy", "--from", from, "--to", target, "--verify"); err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			compare(t, want, from, target)
		})
	}
}

// compare looks whether a copy has the same files, and no more.
func compare(t *testing.T, want map[string]string, from, target string) {
	t.Helper()
	if strings.HasSuffix(target, ".yaml") {
		back := t.TempDir()
		if _, stderr, err := onStorage(t, "copy", "--from", target, "--to", back); err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		target = back
	}
	got := files(t, target)
	if len(want) < 100 || !maps.Equal(want, got) {
		t.Errorf("%d files were copied, of %d", len(got), len(want))
	}
}

// Ctrl-C ends a copy soon, and says how to resume it.
func TestCopyIsStopped(t *testing.T) {
	from, to := images(t), t.TempDir()
	for _, sent := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := program("storage", "copy", "--from", from, "--to", to, "--parallel", "1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if entries, _ := os.ReadDir(filepath.Join(to, "docker/registry/v2/blobs/sha256")); len(entries) > 3 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is copied")
			}
		}
		if err := cmd.Process.Signal(sent); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if err == nil || stderr.String() != "redoubt: stopped: run the same command again to resume\n" {
			t.Fatalf("%v: %v\n%s", sent, err, stderr.String())
		}
		if _, err := os.Stat(filepath.Join(to, "redoubt")); err == nil {
			t.Error("something was left behind")
		}
		if err := os.RemoveAll(filepath.Join(to, "docker")); err != nil {
			t.Fatal(err)
		}
	}
}

// The lines that a person sees, with the faults of a damaged source.
func TestCopyAndScrubSay(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	seed.Serve(t, seed.Directory(from)).Push(t, "app:1", seed.Image(t, 10_000, 2))
	stdout, stderr, err := onStorage(t, "copy", "--from", from, "--to", to)
	if err != nil || stderr != "" || !strings.HasPrefix(stdout, "copied 4 blobs (") || !strings.HasSuffix(stdout, "0 blobs were there already\n") {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	stdout, stderr, err = onStorage(t, "copy", "--from", from, "--to", "filesystem:"+to, "--verify")
	if err != nil || stderr != "" || !strings.Contains(stdout, "4 blobs were there already\ncompared 4 blobs (") || !strings.Contains(stdout, ": 0 differ; 0 blobs are at the target alone") {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	var damaged string
	if err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if d.Name() == "data" && err == nil {
			if info, err := d.Info(); err == nil && info.Size() > 9_000 {
				damaged = path
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, []byte("not this"), 0o600); err != nil {
		t.Fatal(err)
	}
	hex := filepath.Base(filepath.Dir(damaged))
	stdout, stderr, err = onStorage(t, "scrub", "--rate", "0", "--storage", from)
	for _, want := range []string{"blob sha256:" + hex + " is damaged", "app:1@sha256:", "layer sha256:" + hex + " is damaged; delete docker/registry/v2/blobs/sha256/", "redoubt: 2 faults in " + from} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in:\n%s", want, stderr)
		}
	}
	if err == nil || !strings.Contains(stdout, "1 manifests and 1 tags of 1 repositories: 2 faults, 0 warnings\n") {
		t.Errorf("%v\n%s", err, stdout)
	}
	stdout, _, err = onStorage(t, "scrub", "--rate", "0", "--json", "--storage", from)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var last struct{ Blobs, Faults int }
	if json.Unmarshal([]byte(lines[len(lines)-1]), &last) != nil || err == nil || len(lines) != 3 || last.Blobs != 4 || last.Faults != 2 {
		t.Errorf("%v\n%s", err, stdout)
	}
	_, stderr, err = onStorage(t, "copy", "--from", from, "--to", t.TempDir())
	if err == nil || !strings.Contains(stderr, "sha256:"+hex+": it is damaged at the source and not copied") || !strings.Contains(stderr, "redoubt: 1 faults, named above; all else is copied\n") {
		t.Errorf("%v\n%s", err, stderr)
	}
}

func TestStorageRefuses(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	full := filepath.Join(dir, "full")
	seed.Serve(t, seed.Directory(full)).Push(t, "app:1", seed.Image(t, 1_000, 1))
	closed := writeFile(t, dir, "closed.yaml", "storage: {s3: {bucket: images, endpoint: \"http://127.0.0.1:1\", accessKey: theaccesskey, secretKey: thesecretkey}}\n")
	noKey := writeFile(t, dir, "nokey.yaml", "storage: {s3: {bucket: images, region: eu-central-1, accessKey: theaccesskey, secretKey: \"file:/none\"}}\n")
	unknown := writeFile(t, dir, "unknown.yaml", "storage: {s4: {}}\n")
	nothing := writeFile(t, dir, "nothing.yaml", "hostname: a.example.com\n")
	for _, test := range []struct {
		args string
		want string
	}{
		{"copy", `required flag(s) "from", "to" not set`},
		{"copy --from " + full + " --to " + dir + "/none", "none: no such file or directory; a new directory for images is made with: install -d"},
		{"copy --from " + dir + "/none --to " + empty, "cannot use " + dir + "/none: no such file or directory"},
		{"copy --from " + empty + " --to " + full, "there is nothing below docker/registry/v2 at the source"},
		{"copy --from " + full + " --to " + full + "/", "--from and --to are the same storage"},
		{"copy --from " + full + " --to s3:images", "keys, which do not belong on a command line"},
		{"copy --from " + full + " --to " + closed, "cannot use " + closed + ": storage.s3.endpoint: "},
		{"copy --from " + full + " --to " + noKey, "storage.s3.secretKey: cannot read /none"},
		{"copy --from " + full + " --to " + unknown, unknown + ":1:11: storage.s4: unknown key"},
		{"copy --from " + full + " --to " + nothing, "it has no storage: section"},
		{"copy --from images --to " + empty, `there is no such file or directory here; write "configured"`},
		{"copy --from " + full + " --to " + empty + " --parallel 0", "--parallel 0: it is from 1 to 64"},
		{"scrub", "cannot use configured: there is no /run/redoubt/registry.yml"},
		{"scrub --storage " + empty, "there is nothing below docker/registry/v2"},
		{"scrub --storage " + full + " --rate 3", `"3" is no rate: write one such as 20MiB/s`},
		{"scrub --storage " + full + " --rate 1B", "at least 1KiB/s"},
		{"scrub --storage " + full + " --after abc", "--after: it takes a digest"},
	} {
		out, err := program(strings.Fields("storage " + test.args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), test.want) || strings.Contains(string(out), "thesecretkey") {
			t.Errorf("%s: %v\n%s", test.args, err, out)
		}
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("%v %v", err, entries)
	}
}
