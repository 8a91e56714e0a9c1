//go:build integration

package role_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	static "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/test/metadata"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// assume gets temporary credentials from the store itself, as EC2 does from STS.
func assume(t *testing.T, s *stores.Store, u stores.User) func() metadata.Role {
	client := sts.New(sts.Options{Region: s.Region, BaseEndpoint: aws.String(s.Endpoint),
		Credentials: static.NewStaticCredentialsProvider(u.AccessKey, u.SecretKey, "")})
	return func() metadata.Role {
		out, err := client.AssumeRole(context.Background(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::123456789012:role/registry"), RoleSessionName: aws.String("i-0123456789abcdef0"), DurationSeconds: aws.Int32(900)})
		if err != nil {
			t.Error(err)
			return metadata.Role{Code: "Failed"}
		}
		c := out.Credentials
		return metadata.Keys(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken, time.Until(*c.Expiration))
	}
}

// TestBucket holds that a real store takes what a bucket gets of the helper, across
// several lives of credentials, and that each was taken.
func TestBucket(t *testing.T) {
	h := serve(t, time.Hour)
	store := stores.MinIO(t)
	sts := assume(t, store, store.NewUser(t))
	const life = 4 * time.Second
	var mu sync.Mutex
	made := map[string]bool{}
	h.service.Attach("registry", func() metadata.Role {
		r := sts()
		r.Expiration = r.LastUpdated.Add(life) // the store's own are of 15 minutes at least
		mu.Lock()
		defer mu.Unlock()
		made[r.AccessKeyID] = true
		return r
	})
	b := openBucket(t, h, store)
	for i, end := 0, time.Now().Add(3*life); time.Now().Before(end); i++ {
		key, data := fmt.Sprintf("object-%d", i), bytes.Repeat([]byte{byte(i)}, 1<<16)
		if _, err := b.Put(t.Context(), key, data, bucket.Condition{}); err != nil {
			t.Fatalf("put %s: %v", key, err)
		}
		r, _, err := b.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatalf("get %s: %v", key, err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("get %s: %d bytes, %v", key, len(got), err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(made) < 3 {
		t.Errorf("%d credentials in three lives", len(made))
	}
}

func openBucket(t *testing.T, h *helper, store *stores.Store) *bucket.Bucket {
	t.Helper()
	params := map[string]any{"bucket": store.NewBucket(t), "region": store.Region, "regionendpoint": store.Endpoint, "forcepathstyle": true}
	settings, err := bucket.FromParameters(params)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bucket.Credentials(params, h.grant, h.socket)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bucket.Open(settings, keys)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBucketProblem holds that whoever uses the bucket learns from the helper what
// to fix, and what may pass.
func TestBucketProblem(t *testing.T) {
	h := serve(t, time.Hour)
	b := openBucket(t, h, stores.MinIO(t))
	for _, c := range []struct {
		name  string
		wrong func()
		want  string
		kind  error
	}{
		{"no role", func() { h.service.Attach("", nil) }, "has no role", bucket.ErrDenied},
		{"broken", func() { h.service.Set(metadata.Broken) }, "answers 500", bucket.ErrUnavailable},
	} {
		c.wrong()
		time.Sleep(2 * time.Second) // the helper asks at most once a second
		_, err := b.Head(t.Context(), "x")
		p := bucket.Explain(err)
		if p == nil || p.Key != "storage.s3.iamRole" || !bytes.Contains([]byte(p.Message), []byte(c.want)) || !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v: %+v", c.name, err, p)
		}
	}
}
