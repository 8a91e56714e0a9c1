package bucket_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

// Those who wait for the credentials of the role share one question, also when it
// fails, and one who leaves waits no longer and ends it for nobody.
func TestRoleIsAskedOnceForAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "socket"), filepath.Join(dir, "grant")
	if err := os.WriteFile(file, []byte(`{"role":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	answer := make(chan struct{})
	helper := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-answer
		http.Error(w, `{"Message":"the instance has no role"}`, http.StatusNotFound)
	})}
	go helper.Serve(listener) // ends with the test
	defer helper.Close()
	keys, err := bucket.Credentials(nil, file, socket)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := keys.Retrieve(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who leaves gets %v", err)
	}
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			if _, err := keys.Retrieve(t.Context()); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who waits gets %v", err)
			}
		})
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := keys.Retrieve(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
		t.Errorf("who leaves gets %v after %v", err, time.Since(began))
	}
	close(answer)
	waiting.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the helper was asked %d times", n)
	}
}
