//go:build integration

package stores_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// each runs a test on both stores.
func each(t *testing.T, o stores.Options, test func(t *testing.T, s *stores.Store)) {
	t.Helper()
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"MinIO": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) { test(t, start(t, o)) })
	}
}

func put(s *s3.Client, bucket, key string, data []byte, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, err := s.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)})
	return err
}

func get(t *testing.T, s *s3.Client, bucket, key string) string {
	t.Helper()
	answer, err := s.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

const long = time.Minute

func TestKillAndFreeze(t *testing.T) {
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		bucket, client := s.NewBucket(t), s.Client()
		if err := put(client, bucket, "a/b", []byte("before"), long); err != nil {
			t.Fatal(err)
		}
		s.Kill()
		if err := put(client, bucket, "a/c", nil, long); err == nil {
			t.Error("a killed store answers")
		}
		s.Start()
		if got := get(t, client, bucket, "a/b"); got != "before" {
			t.Errorf("after the kill it has %q", got)
		}
		s.Freeze()
		if err := put(client, bucket, "a/d", nil, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a frozen store answers: %v", err)
		}
		s.Thaw()
		if err := put(client, bucket, "a/d", nil, long); err != nil {
			t.Error(err)
		}
	})
}

func TestTLS(t *testing.T) {
	each(t, stores.Options{TLS: true, Region: "ch-dk-2"}, func(t *testing.T, s *stores.Store) {
		if !strings.HasPrefix(s.Endpoint, "https://") {
			t.Fatal(s.Endpoint)
		}
		bucket := s.NewBucket(t)
		u := s.NewUser(t)
		if err := put(s.ClientAs(u.AccessKey, u.SecretKey), bucket, "a", nil, long); err != nil {
			t.Error(err)
		}
		s.Roots = ""
		if err := put(s.Client(), bucket, "a", nil, long); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("without its CA: %v", err)
		}
	})
}

func TestUsers(t *testing.T) {
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		bucket, u := s.NewBucket(t), s.NewUser(t)
		client := s.ClientAs(u.AccessKey, u.SecretKey)
		if err := put(client, bucket, "a", []byte("theirs"), long); err != nil {
			t.Fatal(err)
		}
		if got := get(t, client, bucket, "a"); got != "theirs" {
			t.Error(got)
		}
		s.RemoveUser(t, u)
		if err := put(client, bucket, "b", nil, long); err == nil {
			t.Error("a user who was removed is served")
		}
		if err := put(s.Client(), bucket, "b", nil, long); err != nil {
			t.Error(err)
		}
	})
}

func TestFull(t *testing.T) {
	each(t, stores.Options{Size: 64 << 20}, func(t *testing.T, s *stores.Store) {
		bucket := s.NewBucket(t)
		data := bytes.Repeat([]byte("full"), 4<<20)
		var err error
		for n := range 16 {
			if err = put(s.Client(), bucket, strings.Repeat("x", n+1), data, long); err != nil {
				t.Logf("after %d MiB: %v", n*len(data)>>20, err)
				break
			}
		}
		if err == nil {
			t.Fatal("256 MiB fit into a file system of 64 MiB")
		}
		if _, err := s.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("x")}); err != nil {
			t.Errorf("a full store deletes nothing: %v", err)
		}
	})
}
