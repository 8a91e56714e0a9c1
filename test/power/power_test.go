//go:build power

package power

import (
	"bytes"
	"context"
	random "crypto/rand"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const cuts = 40

// pair is the number of the generation that the disk holds.
func pair(dir string) (int, error) {
	p, err := cert.Current(filepath.Join(dir, "certificates"))
	if err != nil {
		return 0, err
	}
	var n int
	_, err = fmt.Sscanf(p.Leaf.DNSNames[0], "g%d.example", &n)
	return n, err
}

// object is the number of the state that the disk holds.
func object(dir string) (int, error) {
	d := sharedstate.Dir{Path: filepath.Join(dir, "acme"), Mode: 0o600, GID: -1, Now: time.Now}
	data, _, err := d.Get(context.Background(), "state.json")
	if err != nil {
		return 0, err
	}
	var first, last int
	fields := bytes.Fields(data)
	if len(fields) != 3 || len(fields[1]) != 20_000 {
		return 0, fmt.Errorf("a torn object of %d bytes", len(data))
	}
	if _, err := fmt.Sscanf(string(fields[0])+" "+string(fields[2]), "%d %d", &first, &last); err != nil || first != last {
		return 0, fmt.Errorf("a torn object: %d and %d", first, last)
	}
	return first, nil
}

// TestPowerCuts cuts the power at random moments of publishing: a whole
// pair and a whole state each time, and nothing lost that was acknowledged.
func TestPowerCuts(t *testing.T) {
	g := start(t, "")
	g.await(3)
	newest := 0
	for i := range cuts {
		time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond))))
		disk, acknowledged := g.cut()
		g.after(disk, func(dir string) {
			published, err := pair(dir)
			if err != nil || published < acknowledged {
				t.Errorf("cut %d: the pair is generation %d of %d: %v", i, published, acknowledged, err)
			}
			kept, err := object(dir)
			if err != nil || kept < acknowledged {
				t.Errorf("cut %d: the state is number %d of %d: %v", i, kept, acknowledged, err)
			}
			// The next tick continues from here.
			certPEM, key, err := cert.SelfSigned([]string{"next.example"}, time.Now(), random.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if err := cert.Publish(filepath.Join(dir, "certificates"), -1, cert.Pair{Chain: certPEM, Key: key}); err != nil {
				t.Errorf("cut %d: the next certificate: %v", i, err)
			}
			newest = max(newest, published)
		})
	}
	t.Logf("%d cuts among %d generations", cuts, newest)
	if newest < cuts/2 {
		t.Errorf("the guest has published %d generations only", newest)
	}
}

// TestCutsAreNoticed holds that this test can fail: writing in place loses pairs.
func TestCutsAreNoticed(t *testing.T) {
	g := start(t, "careless")
	g.await(3)
	for range 5 * cuts {
		time.Sleep(time.Duration(rand.Int64N(int64(200 * time.Millisecond))))
		disk, acknowledged := g.cut()
		lost := false
		g.after(disk, func(dir string) {
			published, err := pair(dir)
			lost = err != nil || published < acknowledged
		})
		if lost {
			return
		}
	}
	t.Error("no cut did any harm to what is written in place")
}
