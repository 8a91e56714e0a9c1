//go:build integration

package registry

import (
	"encoding/json"
	"testing"

	"github.com/redoubt-registry/redoubt/test/stores"
)

// TestRoutesOnBuckets holds what TestRoutes does, on a bucket that clients are sent to
// and on one that they are not.
func TestRoutesOnBuckets(t *testing.T) {
	s := stores.MinIO(t)
	for name, redirect := range map[string]string{"redirect": "false", "none": "true"} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(parameters(t, s))
			check(t, err)
			newDoor(t, "s3: "+string(text)+"\n  redirect: {disable: "+redirect+"}").askAll(t)
		})
	}
}
