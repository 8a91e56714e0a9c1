//go:build integration

package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/gateway"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// sharedAnswers are those of a bucket behind a gateway, and the bucket.
func sharedAnswers(t *testing.T, s *stores.Store) (*answers, sharedstate.Store, *gateway.Gateway, *atomic.Int64) {
	t.Helper()
	g := gateway.Start(t, s)
	b, err := bucket.OpenDefault(map[string]any{"bucket": s.NewBucket(t), "region": s.Region, "regionendpoint": g.Endpoint,
		"forcepathstyle": true, "accesskey": s.AccessKey, "secretkey": s.SecretKey})
	check(t, err)
	var warnings atomic.Int64
	return &answers{store: sharedstate.ChallengesIn(b), warn: func(error) { warnings.Add(1) }}, sharedstate.ChallengesIn(b), g, &warnings
}

// What another machine writes is found at once, and what it removes is gone.
func TestAnswersOfAnotherMachine(t *testing.T) {
	for name, start := range map[string]func(stores.Owner, ...stores.Options) *stores.Store{"minio": stores.MinIO, "versitygw": stores.Versity} {
		t.Run(name, func(t *testing.T) {
			a, other, _, _ := sharedAnswers(t, start(t))
			ctx := context.Background()
			for i := range 3 {
				token := fmt.Sprintf("a-token-of-the-certificate-authority-%d", i)
				if _, err := a.get(ctx, token); !errors.Is(err, sharedstate.ErrNotFound) {
					t.Errorf("%s: before it is there: %v", token, err)
				}
				_, err := other.Put(ctx, token, []byte(token+".print"), "")
				check(t, err)
				if data, err := a.get(ctx, token); err != nil || string(data) != token+".print" {
					t.Errorf("%s: %q %v", token, data, err)
				}
			}
			check(t, other.Delete(ctx, "a-token-of-the-certificate-authority-0"))
			if _, err := a.get(ctx, "another-token-of-the-certificate-authority"); !errors.Is(err, sharedstate.ErrNotFound) {
				t.Error(err)
			}
			if _, err := a.get(ctx, "a-token-of-the-certificate-authority-0"); !errors.Is(err, sharedstate.ErrNotFound) {
				t.Errorf("it was removed: %v", err)
			}
		})
	}
}

// Strangers who ask for what is not there cost the bucket a request a second,
// however many they are, and a CA who asks among them gets its answer.
func TestStrangersAskTheBucketOnceASecond(t *testing.T) {
	a, other, g, _ := sharedAnswers(t, stores.MinIO(t))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began := time.Now()
	var asked atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := a.get(ctx, fmt.Sprintf("not-a-token-of-anybody-%d-%d", i, n)); !errors.Is(err, sharedstate.ErrNotFound) && ctx.Err() == nil {
					t.Error(err)
				}
				asked.Add(1)
			}
		})
	}
	for i := range 3 {
		token := fmt.Sprintf("a-token-of-the-certificate-authority-%d", i)
		_, err := other.Put(ctx, token, []byte("answer"), "")
		check(t, err)
		if data, err := a.get(ctx, token); err != nil || string(data) != "answer" {
			t.Errorf("the CA gets %q, %v", data, err)
		}
	}
	cancel()
	all.Wait()
	lists := 0
	for _, r := range g.Requests() {
		if r == "GET /bucket-1" || r == "GET /bucket-1/" {
			lists++
		}
	}
	most := int(time.Since(began)/answersPause) + 1
	t.Logf("%d questions in %v, %d listings", asked.Load(), time.Since(began).Round(time.Millisecond), lists)
	if lists == 0 || lists > most {
		t.Errorf("%d listings in %v", lists, time.Since(began))
	}
}

// A bucket that is frozen keeps nobody longer than a CA waits, and is no reason to
// say that there is no answer. What was known is still told.
func TestAnswersOfAFrozenBucket(t *testing.T) {
	s := stores.MinIO(t)
	a, other, _, warnings := sharedAnswers(t, s)
	ctx := context.Background()
	const known = "a-token-of-the-certificate-authority"
	_, err := other.Put(ctx, known, []byte("answer"), "")
	check(t, err)
	if _, err := a.get(ctx, known); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	defer s.Thaw()
	if data, err := a.get(ctx, known); err != nil || string(data) != "answer" {
		t.Errorf("what is known: %q %v", data, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := a.get(ctx, "not-a-token-of-anybody-at-all")
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, sharedstate.ErrNotFound) {
			t.Errorf("a bucket that does not answer: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
	if warnings.Load() == 0 {
		t.Error("nobody is told")
	}
}
