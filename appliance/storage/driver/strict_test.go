//go:build integration

package driver_test

import (
	"fmt"
	"testing"

	"github.com/redoubt-registry/redoubt/test/gateway"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// Each service has rules of its own. What keeps them all works everywhere: equal
// parts, whatever the sizes of a client's chunks are, and no call that some do not
// have.
func TestTheStrictestRules(t *testing.T) {
	s := stores.MinIO(t)
	for name, missing := range map[string][]gateway.Call{
		"equal parts":  nil,
		"fewer calls":  {gateway.DeleteObjects, gateway.UploadPartCopy},
		"even no copy": {gateway.DeleteObjects, gateway.UploadPartCopy, gateway.CopyObject},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			strict := gateway.Start(t, s)
			strict.Strict(missing...)
			p := params(s, s.NewBucket(t), "/images")
			p["regionendpoint"] = strict.Endpoint
			one, two := registry(t, oursName, p), registry(t, oursName, p)
			for _, c := range []struct {
				size   int
				chunks []int // of the requests
			}{
				{70 * mib, []int{70 * mib, 0}}, {100 * mib, []int{100 * mib}},
				{40*mib + 3, []int{7 * mib, 11 * mib, mib, 21 * mib, 3, 0}},
				{23 * mib, []int{8 * mib, 8 * mib, 7 * mib}}, {12 * mib, []int{100, 12*mib - 100, 0}},
			} {
				if missing != nil && c.size > 50*mib {
					continue // large ones are copied as the one of 40 MiB is
				}
				data := noise(t, c.size)
				push(t, []string{one}, data, c.chunks)
				pull(t, one, data)
				if c.size < 50*mib { // each request to another node
					data = noise(t, c.size)
					push(t, []string{one, two}, data, c.chunks)
					pull(t, two, data)
				}
			}
			if left := leftovers(t, func() map[string]any { return params(s, "", "/images") }, fmt.Sprint(p["bucket"])); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}
