package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

// All uploads to a bucket together use this much memory, and files beyond that.
const (
	memory = 128 << 20
	spool  = "/var/tmp" // not /tmp, which is memory too
)

// openBucket opens a bucket by the parameters of distribution's driver, with keys
// or with those that the registry has.
func openBucket(ctx context.Context, params map[string]any, k *keys) (*Place, error) {
	var b *bucket.Bucket
	var err error
	if k == nil {
		b, err = bucket.OpenDefault(params)
	} else {
		b, err = openWith(params, k)
	}
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, b); err != nil {
		return nil, err
	}
	s := b.Settings()
	at := s.Endpoint
	if at == "" {
		at = s.Region
	}
	id := fmt.Sprintf("%s\n%s\n%s", at, s.Bucket, s.Root)
	return &Place{Driver: driver.New(b, bucket.NewBuffers(memory, spool)), Name: b.String(), State: sharedstate.InBucket(b), id: id}, nil
}

// openWith opens a bucket with keys that are not yet where the registry reads them.
// Package bucket reads them from files, which are removed before openWith returns.
func openWith(params map[string]any, k *keys) (*bucket.Bucket, error) {
	dir, err := os.MkdirTemp("", "redoubt-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	credentials, cas := filepath.Join(dir, "credentials"), filepath.Join(dir, "cas")
	data, err := json.Marshal(k)
	if err != nil {
		return nil, errors.New("its keys cannot be used")
	}
	if err := errors.Join(os.WriteFile(credentials, data, 0o600), os.WriteFile(cas, k.cas, 0o600)); err != nil {
		return nil, err
	}
	params = maps.Clone(params)
	if len(k.cas) > 0 {
		params["cabundle"] = cas
	}
	s, err := bucket.FromParameters(params)
	if err != nil {
		return nil, err
	}
	provider, err := bucket.Credentials(params, credentials, paths.RoleSocket)
	if err != nil {
		return nil, err
	}
	return bucket.Open(s, provider)
}

// reach sends one request to a bucket, so that a mistake is reported at once, with the
// key to fix.
func reach(ctx context.Context, b *bucket.Bucket) error {
	for _, err := range b.List(ctx, "docker/registry/v2/", "", "/") {
		if problem := bucket.Explain(err); problem != nil {
			return problem
		}
		return err
	}
	return nil
}
