//go:build integration

package appliance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// The registry's user writes the state of the storage. What it writes there never moves
// root's terminal.
func TestTheStateOfTheStorageIsPrintedAsText(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	const escape = `\u001b]0;owned\u0007\u009b2J\r\u202e`
	now := time.Now().UTC().Format(time.RFC3339)
	b.put(strings.TrimPrefix(paths.StorageState, "/"), fmt.Sprintf(`{"storage": "/s%[1]s", "grade": "down", "since": %[2]q, "checked": %[2]q, "until": %[2]q,
		"error": "e%[1]s", "key": "k%[1]s", "reason": "r%[1]s", "failures": 3,
		"operations": [{"name": "put%[1]s", "seconds": 1, "error": "o%[1]s", "key": "k%[1]s", "reason": "r%[1]s", "without": "down"}]}`, escape, now))
	said, err := b.alert(time.Now(), "redoubt-health.service", "exit-code")
	if err != nil || said == "" {
		t.Errorf("%q, %v", said, err)
	}
	report, err := b.machine().Status(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	said += report.String()
	if strings.ContainsAny(said, "\x1b\x07\r\u009b\u202e") {
		t.Errorf("a terminal would act on %q", said)
	}
}

// A webhook that does not answer delays neither the line of its alert nor another alert.
func TestAlertsBesideAWebhookThatHangs(t *testing.T) {
	b := newBox(t)
	release := make(chan struct{})
	asked := make(chan struct{}, 8)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-release
	}))
	answer := sync.OnceFunc(func() { close(release) })
	t.Cleanup(hook.Close)
	t.Cleanup(answer) // runs first
	b.userData(good + "  alerts: {webhook: \"" + hook.URL + "\"}\n")
	b.mustApply()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var said [3]bytes.Buffer
	for i := range said {
		m := b.machine()
		m.Out = &said[i]
		all.Go(func() {
			if err := m.Alert(ctx, fmt.Sprintf("redoubt-%d.service", i), "timeout"); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range said { // each is printed before it is sent
		select {
		case <-asked:
		case <-ctx.Done():
			t.Fatalf("%d of %d alerts were sent while the webhook hung", i, len(said))
		}
	}
	answer()
	all.Wait()
	for i := range said {
		if !strings.Contains(said[i].String(), fmt.Sprintf("redoubt-%d.service has failed: timeout", i)) {
			t.Errorf("alert %d: %q", i, said[i].String())
		}
	}
	// All of them are remembered.
	for i := range said {
		if again, err := b.alert(time.Now(), fmt.Sprintf("redoubt-%d.service", i), "timeout"); again != "" || err != nil {
			t.Errorf("told again: %q, %v", again, err)
		}
	}
}
