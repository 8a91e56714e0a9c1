package place

import (
	"context"
	"errors"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/bucket"
)

// openBucket opens a bucket by the parameters of distribution's driver, with keys
// or with those that the registry has.
func openBucket(ctx context.Context, params map[string]any, k *keys) (*Place, error) {
	if k != nil && len(k.cas) > 0 {
		var p *Place
		cas := k.cas
		k.cas = nil
		err := withCAs(cas, func(path string) (err error) {
			params["cabundle"] = path
			p, err = openBucket(ctx, params, k)
			return err
		})
		return p, err
	}
	if k != nil && params["accesskey"] == nil && !k.Role {
		params["accesskey"], params["secretkey"] = k.AccessKey, k.SecretKey
	}
	b, err := bucket.OpenDefault(params)
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, b); err != nil {
		return nil, err
	}
	s := b.Settings()
	id := fmt.Sprintf("%s\n%s\n%s\n/%s/", s.Endpoint, s.Region, s.Bucket, s.Root)
	return &Place{Name: b.String(), id: id}, errors.ErrUnsupported
}

// reach asks a bucket for one thing, so that what is wrong with it is said at once
// and by the key to mend.
func reach(ctx context.Context, b *bucket.Bucket) error {
	for _, err := range b.List(ctx, "docker/registry/v2/", "", "/") {
		if problem := bucket.Explain(err); problem != nil {
			return problem
		}
		return err
	}
	return nil
}
