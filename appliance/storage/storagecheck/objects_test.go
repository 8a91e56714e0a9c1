//go:build integration

package storagecheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/test/proxy"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// each runs a test against both stores.
func each(t *testing.T, options stores.Options, f func(t *testing.T, s *stores.Store)) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) { f(t, start(t, options)) })
	}
}

// params are distribution's parameters for a bucket of a store.
func params(s *stores.Store, name string) map[string]any {
	return map[string]any{
		"bucket": name, "region": s.Region, "regionendpoint": s.Endpoint, "rootdirectory": "/some/root",
		"accesskey": s.AccessKey, "secretkey": s.SecretKey,
	}
}

func objects(t *testing.T, params map[string]any) Objects {
	t.Helper()
	b, err := bucket.OpenDefault(params)
	check(t, err)
	return Objects{Bucket: b, ID: "this"}
}

// keys lists what is in the bucket.
func keys(t *testing.T, s *stores.Store, name string) []string {
	t.Helper()
	list, err := s.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &name})
	check(t, err)
	var all []string
	for _, o := range list.Contents {
		all = append(all, aws.ToString(o.Key))
	}
	return all
}

// failing are the operations that fail.
func failing(look health.Look) (names []string) {
	for _, o := range look.Operations {
		if o.Error != "" {
			names = append(names, o.Name)
		}
	}
	return names
}

func TestBucket(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		name := s.NewBucket(t)
		o := objects(t, params(s, name))
		look := want(t, o, health.OK, "", "")
		if want := fmt.Sprintf("bucket %s/some/root at %s", name, s.Endpoint); look.Storage != want {
			t.Errorf("it is called %s, want %s", look.Storage, want)
		}
		var names []string
		for _, op := range look.Operations {
			names = append(names, op.Name)
		}
		if want := []string{"get", "put", "list", "delete", "multipart", "copy"}; !slices.Equal(names, want) {
			t.Errorf("operations %q, want %q", names, want)
		}
		const stays = "some/root/redoubt/health/this/canary"
		if left := keys(t, s, name); !slices.Equal(left, []string{stays}) {
			t.Errorf("it leaves %q", left)
		}

		// What costs more is not tried again while all is well.
		second := Probe(t.Context(), o, look, false)
		wantLook(t, second, health.OK, "", "")
		for i, op := range second.Operations {
			dear := op.Name == "multipart" || op.Name == "copy"
			if again := !op.At.Equal(look.Operations[i].At); again == dear {
				t.Errorf("%s was tried again: %t", op.Name, again)
			}
		}
		for i := range second.Operations {
			second.Operations[i].At = second.Operations[i].At.Add(-seldom)
		}
		third := Probe(t.Context(), o, second, false)
		for i, op := range third.Operations {
			if op.At.Equal(second.Operations[i].At) {
				t.Errorf("%s is not tried after %v", op.Name, seldom)
			}
		}

		// A canary of another song is replaced.
		_, err := o.Bucket.Put(t.Context(), o.key(canary), []byte("tweet"), bucket.Condition{})
		check(t, err)
		want(t, o, health.OK, "", "")
	})
}

// What a killed look leaves behind is swept by a later one, when it is old.
func TestLitterInBucket(t *testing.T) {
	t.Parallel()
	s := stores.Versity(t) // whose objects are files, so that they can be old
	name := s.NewBucket(t)
	o := objects(t, params(s, name))
	for _, key := range []string{"old", "young"} {
		_, err := o.Bucket.Put(t.Context(), o.key(key), []byte("x"), bucket.Condition{})
		check(t, err)
	}
	hour := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(filepath.Join(s.Data, name, "some/root/redoubt/health/this/old"), hour, hour))
	want(t, o, health.OK, "", "")
	left := keys(t, s, name)
	if !slices.Equal(left, []string{"some/root/redoubt/health/this/canary", "some/root/redoubt/health/this/young"}) {
		t.Errorf("%q are left", left)
	}
}

// A look that is killed in the middle of an upload leaves no upload for ever.
func TestUnfinishedUploads(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		o := objects(t, params(s, s.NewBucket(t)))
		_, err := o.Bucket.CreateMultipart(t.Context(), o.key(parts))
		check(t, err)
		uploads := func() int {
			list, err := o.Bucket.Multiparts(t.Context(), o.key(parts))
			check(t, err)
			return len(list)
		}
		o.sweep(t.Context(), time.Now())
		if n := uploads(); n != 1 {
			t.Errorf("%d uploads after a sweep that is too early", n)
		}
		o.sweep(t.Context(), time.Now().Add(time.Hour))
		if n := uploads(); n != 0 {
			t.Errorf("%d uploads are left", n)
		}
	})
}

func TestDeadAndFrozenBucket(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		o := objects(t, params(s, s.NewBucket(t)))
		want(t, o, health.OK, "", "")
		s.Freeze()
		look := want(t, o, health.Down, "does not answer in time", "it does not answer")
		if _, cause := look.Grade(); cause == nil || cause.Key != "storage.s3.endpoint" {
			t.Errorf("%+v", cause)
		}
		s.Thaw()
		want(t, o, health.OK, "", "")
		s.Kill()
		want(t, o, health.Down, "refuses the connection", "it does not answer")
		// A machine that starts while its bucket is away finds out as well.
		want(t, objects(t, params(s, "images")), health.Down, "refuses the connection", "it does not answer")
		s.Start()
		want(t, o, health.OK, "", "")
	})
}

func TestFullBucket(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{Size: 64 << 20}, func(t *testing.T, s *stores.Store) {
		o := objects(t, params(s, s.NewBucket(t)))
		want(t, o, health.OK, "", "")
		filler := stores.Fill(t, s.Data, 0)
		look := Probe(t.Context(), o, health.Look{}, true)
		if grade, cause := look.Grade(); grade != health.Degraded {
			t.Errorf("%s: %+v", grade, look.Operations)
		} else {
			t.Logf("%s fails: %q: %s (%s)", s.Name, failing(look), cause.Error, cause.Reason)
		}
		if slices.Contains(failing(look), "get") || !slices.Contains(failing(look), "put") {
			t.Errorf("%q fail", failing(look))
		}
		check(t, os.Remove(filler))
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) { // MinIO remembers for a while
			if grade, _ := Probe(t.Context(), o, health.Look{}, true).Grade(); grade == health.OK {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("it stays full")
			}
		}
	})
}

// Credentials that may read and not write.
func TestReadOnlyCredentials(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		name := s.NewBucket(t)
		full := objects(t, params(s, name))
		want(t, full, health.OK, "", "")
		policy := strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::NAME/*"]},
			{"Effect":"Allow","Principal":"*","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::NAME"]}]}`, "NAME", name)
		_, err := s.Client().PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy})
		check(t, err)
		b, err := bucket.Open(full.Bucket.Settings(), aws.AnonymousCredentials{})
		check(t, err)
		look := want(t, Objects{Bucket: b, ID: "this"}, health.Degraded, "may not do this", "it refuses access")
		if got := failing(look); !slices.Equal(got, []string{"put", "multipart", "copy"}) {
			t.Errorf("%q fail: %+v", got, look.Operations)
		}
		if _, cause := look.Grade(); cause.Key != "storage.s3.accessKey" {
			t.Errorf("%+v", cause)
		}
		// One that has never been here has no canary, and can read all the same.
		look = want(t, Objects{Bucket: b, ID: "other"}, health.Degraded, "may not do this", "it refuses access")
		if slices.Contains(failing(look), "get") {
			t.Errorf("%q fail: %+v", failing(look), look.Operations)
		}
	})
}

// Each mistake names the key to fix.
func TestWrongBuckets(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		name := s.NewBucket(t)
		for what, test := range map[string]struct{ param, value, key, reason string }{
			"secret":   {"secretkey", "wrong-wrong-wrong", "storage.s3.secretKey", "it refuses access"},
			"key":      {"accesskey", "nobody", "storage.s3.accessKey", "it refuses access"},
			"bucket":   {"bucket", "no-such-bucket", "storage.s3.bucket", "it could not read an object"},
			"endpoint": {"regionendpoint", "http://no-such-host.invalid", "storage.s3.endpoint", "it does not answer"},
		} {
			p := params(s, name)
			p[test.param] = test.value
			look := want(t, objects(t, p), health.Down, "", test.reason)
			if _, cause := look.Grade(); cause == nil || cause.Key != test.key {
				t.Errorf("%s: %+v", what, cause)
			}
			for _, op := range look.Operations {
				if strings.Contains(op.Error, s.SecretKey) || strings.Contains(op.Error, "wrong-wrong-wrong") {
					t.Errorf("%s: it shows the secret key: %s", what, op.Error)
				}
			}
		}
	})
}

// A store that takes two seconds for each answer is slow, and no more.
func TestSlowBucket(t *testing.T) {
	t.Parallel()
	s := stores.MinIO(t)
	p := params(s, s.NewBucket(t))
	between := proxy.HTTP(t, s.Endpoint)
	p["regionendpoint"] = between.URL
	o := objects(t, p)
	want(t, o, health.OK, "", "")
	between.Set(proxy.Fault{Delay: 2 * time.Second})
	look := want(t, o, health.OK, "", "")
	if slowest := look.Slowest(); slowest.Name != "multipart" || slowest.Seconds < 6 {
		t.Errorf("the slowest is %+v", slowest)
	}
}

// A look costs what the documentation says.
func TestRequestsOfALook(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		p := params(s, s.NewBucket(t))
		between := proxy.HTTP(t, s.Endpoint)
		p["regionendpoint"] = between.URL
		o := objects(t, p)
		look := want(t, o, health.OK, "", "")
		between.Forget()
		look = Probe(t.Context(), o, look, false)
		wantLook(t, look, health.OK, "", "")
		if n := between.Requests(""); n != 4 {
			t.Errorf("a look made %d requests, want 4", n)
		}
		between.Forget()
		want(t, o, health.OK, "", "")
		// Three of the upload, one of the copy, a listing of uploads, and two deletions.
		if n := between.Requests(""); n != 4+7 {
			t.Errorf("a look at everything made %d requests, want 11", n)
		}
	})
}
