//go:build integration

package acme

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/test/pebble"
)

// twice is a client that lost each first answer and sent the request again.
type twice struct{ sharedstate.Store }

func (s twice) Put(ctx context.Context, key string, data []byte, ifVersion string) (string, error) {
	if _, err := s.Store.Put(ctx, key, data, ifVersion); err != nil {
		return "", err
	}
	return s.Store.Put(ctx, key, data, ifVersion)
}

func TestLostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	w.Store = twice{w.Store}
	w.issued()
}

// down is a store that cannot be reached.
type down struct{ sharedstate.Store }

var errDown = errors.New("the store is down")

func (down) Get(context.Context, string) ([]byte, string, error) { return nil, "", errDown }

func TestStoreDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	before := w.issued()
	w.due()
	p.Forget()
	up := w.Store
	w.Store = down{up}
	w.fails("cannot read the state of the certificate", "the store is down")
	if r := p.Requests(""); len(r) > 0 {
		t.Errorf("the CA is asked: %q", r)
	}
	w.Store = up
	if w.memory().Chain != before.Chain {
		t.Error("the pair changed")
	}
	w.issued()
}

func TestDamagedState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	p := w.front()
	w.issued()
	path := filepath.Join(w.dir, "acme", stateKey)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.Forget()
	for name, damaged := range map[string][]byte{
		"it is empty":                   {},
		"it holds nothing but zeros":    make([]byte, len(whole)),
		"it is cut off or damaged":      whole[:len(whole)/2],
		"it has format 2":               bytes.Replace(whole, []byte(`"format": 1`), []byte(`"format": 2`), 1),
		"it has format 0 and this vers": []byte("{}"),
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		w.fails(name, path, "It is left as it is", "mv ")
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
	if r := p.Requests(""); len(r) > 0 {
		t.Errorf("the CA is asked: %q", r)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	w.idle()
}

// full makes the machine's store a file system of its own that can be filled.
func (w *world) full() (fill, free func()) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "acme")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		w.t.Fatalf("cannot mount (this test needs root): %v", err)
	}
	w.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	fill = func() {
		err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600)
		if !errors.Is(err, syscall.ENOSPC) {
			w.t.Errorf("the disk is not full: %v", err)
		}
	}
	return fill, func() {
		if err := os.Remove(ballast); err != nil {
			w.t.Error(err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pebble.Options{}, "registry.example.com")
	fill, free := w.full()
	p := w.front()
	before := w.issued()
	p.Forget()
	w.due()
	fill()
	w.fails("no space left on device")
	if r := p.Requests(newOrder); len(r) > 0 {
		t.Errorf("a certificate is ordered that cannot be kept: %q", r)
	}
	if w.memory().Chain != before.Chain {
		t.Error("the pair changed")
	}
	free()
	// The disk fills up after the order was made.
	p.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "finalize") {
			fill()
		}
		return false
	})
	w.fails("no space left on device")
	if w.memory().Chain != before.Chain {
		t.Error("the pair changed")
	}
	p.Meddle(nil)
	free()
	w.lateStore()
	w.late = pastLease // which could not be given back
	w.issued()
	if n := len(p.Requests(newOrder)); n != 1 {
		t.Errorf("%d orders for one certificate", n)
	}
}
