//go:build integration

package sharedstate

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/gateway"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// eachService runs a test with a bucket of each service, behind a gateway.
func eachService(t *testing.T, test func(t *testing.T, g *gateway.Gateway, params map[string]any)) {
	for name, start := range services {
		t.Run(name, func(t *testing.T) {
			service := start(t)
			g := gateway.Start(t, service)
			params := parameters(service, service.NewBucket(t))
			params["regionendpoint"] = g.Endpoint
			test(t, g, params)
		})
	}
}

// A service that compares and swaps is taken, and nothing of the probe is left.
func TestProbe(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, g *gateway.Gateway, params map[string]any) {
		b := open(t, params)
		for range 3 {
			if err := Probe(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d requests each", len(g.Requests())/3)
		for o, err := range b.List(ctx, "", "", "") {
			t.Errorf("%s is left: %v", o.Key, err)
		}
	})
}

// Services that ignore conditions, all or one of them, or keep them in two steps.
func TestProbeFindsWhatIsIgnored(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(g *gateway.Gateway)
		words []string
	}{
		"both":         {func(g *gateway.Gateway) { g.Ignore("If-Match", "If-None-Match") }, []string{"ignores If-None-Match"}},
		"to create":    {func(g *gateway.Gateway) { g.Ignore("If-None-Match") }, []string{"ignores If-None-Match"}},
		"to replace":   {func(g *gateway.Gateway) { g.Ignore("If-Match") }, []string{"ignores If-Match"}},
		"in two steps": {func(g *gateway.Gateway) { g.TwoSteps(50 * time.Millisecond) }, []string{"are told that they succeeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachService(t, func(t *testing.T, g *gateway.Gateway, params map[string]any) {
				tc.spoil(g)
				b := open(t, params)
				err := Probe(ctx, b)
				if _, ok := errors.AsType[*Unconditional](err); !ok {
					t.Fatalf("it is taken: %v", err)
				}
				for _, word := range append(tc.words, "set nodes to 1") {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("the error lacks %q: %v", word, err)
					}
				}
				for o, err := range b.List(ctx, "", "", "") {
					t.Errorf("%s is left: %v", o.Key, err)
				}
			})
		})
	}
}

// A service that cannot be asked is no service without conditions.
func TestProbeOfWhatIsDown(t *testing.T) {
	t.Parallel()
	service := stores.MinIO(t)
	params := parameters(service, service.NewBucket(t))
	for name, spoil := range map[string]func(){
		"wrong key": func() { params["secretkey"] = "wrong" },
		"down":      func() { service.Kill() },
	} {
		spoil()
		err := Probe(ctx, open(t, params))
		if _, unconditional := errors.AsType[*Unconditional](err); err == nil || unconditional {
			t.Errorf("%s: %v", name, err)
		}
		params["secretkey"] = service.SecretKey
	}
}

// TestLostAnswers: the answer to each first writing of an object is lost, and all
// that there is to say is success.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	eachService(t, func(t *testing.T, g *gateway.Gateway, params map[string]any) {
		var puts atomic.Int64
		g.Lose(func(r *http.Request) bool { return r.Method == http.MethodPut && puts.Add(1)%2 == 1 })
		s := InBucket(open(t, params))
		version := ""
		for _, data := range []string{"1", "2", "3"} {
			next, err := s.Put(ctx, "a", []byte(data), version)
			if err != nil {
				t.Fatalf("%s: %v", data, err)
			}
			if have, now, err := s.Get(ctx, "a"); err != nil || string(have) != data || now != next {
				t.Errorf("%s: %q %q %v, and not %q", data, have, now, err, next)
			}
			if _, err := s.Put(ctx, "a", []byte("another"), version); !errors.Is(err, ErrConflict) {
				t.Errorf("%s: what another put is overwritten: %v", data, err)
			}
			version = next
		}
		if n := puts.Load(); n < 6 {
			t.Errorf("%d requests: no answer was lost", n)
		}
		if _, err := Take(ctx, s, "lease", "a", time.Minute); err != nil {
			t.Errorf("a lease whose answer is lost: %v", err)
		}
	})
}
