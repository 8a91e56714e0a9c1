//go:build integration

package appliance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// The keys of tokens are made by the first apply, and rotated by the renewal.
func TestTokenKeys(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n")
	b.mustApply()
	const file = "var/lib/redoubt/tokens/keys"
	first := b.get(file)
	if info, err := os.Stat(filepath.Join(b.root, file)); err != nil || info.Mode().Perm() != 0o640 || paths.Tokens != "/var/lib/redoubt/tokens" {
		t.Errorf("%v, %v", info, err)
	}
	renew := func(now time.Time) string {
		m := b.machine()
		m.Now = func() time.Time { return now }
		if err := m.Renew(t.Context(), appliance.RenewOptions{}); err != nil {
			t.Fatal(err)
		}
		return b.get(file)
	}
	if got := renew(time.Now()); got != first {
		t.Error("a young key is replaced")
	}
	if got := renew(time.Now().Add(31 * 24 * time.Hour)); strings.Count(got, `"kid"`) != 2 {
		t.Error("an old key is not replaced")
	}
	b.put(file, "damaged")
	if got := renew(time.Now()); strings.Count(got, `"kid"`) != 1 {
		t.Error("damaged keys stay")
	}
}
