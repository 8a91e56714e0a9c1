package appliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
	"github.com/redoubt-registry/redoubt/units"
)

const (
	// At a boot the network may come up after the apply.
	bucketPatience = 20 * time.Second
	bucketPause    = 2 * time.Second
	// bucketTimeout is for one try: longer than a slow bucket takes.
	bucketTimeout = 15 * time.Second
)

// tryBucket checks that the bucket of want works before the machine uses it; the error
// names the key to fix. The bucket that the machine uses already is not tried, since it
// may be away for a while.
//
// A machine that serves nothing yet accepts a bucket that merely cannot be reached: the
// registry serves as soon as it can be.
func (m *Machine) tryBucket(ctx context.Context, want target, origins config.Origins, lastGood []byte) error {
	if want.cfg.Storage.S3 == nil {
		return nil
	}
	before, _, _ := config.Parse([]config.Layer{{Name: paths.LastGood, Data: lastGood}})
	serves := m.rendered()
	known, err := m.hasBucket(want, before, serves)
	if err != nil {
		return err
	}
	shared := want.cfg.Nodes > 1 && (!known || before.Nodes < 2)
	if known && !shared {
		return nil
	}
	b, err := m.openBucket(ctx, want)
	if err != nil {
		return err
	}
	if serves {
		_, err = askBucket(ctx, b, shared)
		return err
	}
	passing, err := awaitBucket(ctx, b, shared)
	if !passing {
		return err
	}
	for _, e := range entries(err, origins) {
		e.Warning, e.Message = true, e.Message+". The registry starts, and serves as soon as the bucket works"
		fmt.Fprintln(m.Warnings, e)
	}
	return nil
}

// awaitBucket tries until the bucket works, fails permanently, or the time is up.
func awaitBucket(ctx context.Context, b *bucket.Bucket, shared bool) (passing bool, err error) {
	for deadline := time.Now().Add(bucketPatience); ; {
		passing, err = askBucket(ctx, b, shared)
		if err == nil || !passing || time.Now().Add(bucketPause).After(deadline) {
			return passing, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(bucketPause):
		}
	}
}

// askBucket does what a registry does in a bucket. passing means that the next try may
// succeed. With shared it also checks that several machines can write there.
func askBucket(ctx context.Context, b *bucket.Bucket, shared bool) (passing bool, err error) {
	if err = tryOut(ctx, b); err == nil && shared {
		err = sharedstate.Probe(ctx, b)
	}
	if unfit, ok := errors.AsType[*sharedstate.Unconditional](err); ok {
		return false, secrets.Problem{Path: "nodes", Err: unfit}
	}
	return err != nil && bucket.Passing(err), problemOf(err)
}

// tryOut does each thing that a registry does, with objects of its own that it
// removes again.
func tryOut(ctx context.Context, b *bucket.Bucket) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	key := "redoubt/health/apply-" + rand.Text()
	copied, parts := key+"-copy", key+"-parts"
	for _, err := range b.List(ctx, "redoubt/health/", "", "/") {
		if err != nil {
			return err
		}
	}
	if _, err := b.Put(ctx, key, []byte(key), bucket.Condition{}); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return readPart(ctx, b, key) },
		func() error { return b.CopySized(ctx, key, copied, int64(len(key))) },
		func() error { return uploadParts(ctx, b, parts) },
		func() error { return copyParts(ctx, b, key, parts) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			_ = b.Delete(ctx, key, copied, parts)
			return err
		}
	}
	return b.Delete(ctx, key, copied, parts)
}

// hasBucket tells whether the machine uses the bucket of want already, by the same way: it serves with it,
// or, after a boot, did so last.
func (m *Machine) hasBucket(want target, before config.Config, serves bool) (bool, error) {
	if !serves {
		return before.Storage.S3 != nil && reflect.DeepEqual(before.Storage.S3, want.cfg.Storage.S3) &&
			reflect.DeepEqual(before.Proxy, want.cfg.Proxy), nil
	}
	names := []string{paths.RegistryYML, paths.S3CA, paths.S3Keys, paths.OutboundFile}
	have, err := disk.Read(m.Root, names)
	if err != nil {
		return false, err
	}
	for _, path := range names[1:] {
		was, is := have.Lookup(path)
		will, is2 := want.files.Lookup(path)
		if is != is2 || !bytes.Equal(was.Data, will.Data) {
			return false, nil
		}
	}
	was, _ := have.Lookup(paths.RegistryYML)
	will, _ := want.files.Lookup(paths.RegistryYML)
	return reflect.DeepEqual(bucketParameters(was.Data), bucketParameters(will.Data)), nil
}

// replacesBucket tells whether t would replace the bucket that the machine serves with:
// the last good document does, if a file that it names has changed.
func (m *Machine) replacesBucket(t target) bool {
	if !m.rendered() || t.cfg.Storage.S3 == nil {
		return false
	}
	same, err := m.hasBucket(t, t.cfg, true)
	return err == nil && !same
}

// bucketParameters are storage.s3 of registry.yml; nil if it has none.
func bucketParameters(registry []byte) map[string]any {
	c, err := registryyml.Read(registry)
	if err != nil {
		return nil // a damaged file counts as another bucket
	}
	return c.Storage["s3"]
}

// openBucket opens the bucket of want, whose files are not written yet.
func (m *Machine) openBucket(ctx context.Context, want target) (*bucket.Bucket, error) {
	dir, err := os.MkdirTemp("", "redoubt-bucket-")
	if err != nil {
		return nil, fmt.Errorf("cannot try the bucket: %w", err)
	}
	defer os.RemoveAll(dir)
	registry, _ := want.files.Lookup(paths.RegistryYML)
	params := bucketParameters(registry.Data)
	if cas, ok := want.files.Lookup(paths.S3CA); ok {
		path := filepath.Join(dir, "ca.pem")
		params["cabundle"] = path
		err = os.WriteFile(path, cas.Data, 0o600)
	}
	credential, _ := want.files.Lookup(paths.S3Keys)
	path := filepath.Join(dir, paths.S3Credential)
	if err = errors.Join(err, os.WriteFile(path, credential.Data, 0o600)); err != nil {
		return nil, fmt.Errorf("cannot try the bucket: %w", err)
	}
	if want.cfg.Storage.S3.IAMRole {
		if err := m.Units.Start(ctx, units.CredentialsSocket); err != nil {
			return nil, secrets.Problem{Path: "storage.s3.iamRole", Err: err}
		}
	}
	settings, err := bucket.FromParameters(params)
	if err != nil {
		return nil, secrets.Problem{Path: "storage.s3", Err: err}
	}
	keys, err := bucket.Credentials(params, path, filepath.Join(m.Root, paths.RoleSocket))
	if err != nil {
		return nil, secrets.Problem{Path: "storage.s3", Err: err}
	}
	proxy := proxyOf(want.files)
	settings.Proxy = &proxy
	b, err := bucket.Open(settings, keys)
	if err != nil {
		return nil, secrets.Problem{Path: "storage.s3", Err: err}
	}
	return b, nil
}

// proxyOf is the proxy in files; none for no file.
func proxyOf(files tree.Tree) outbound.Proxy {
	f, ok := files.Lookup(paths.OutboundFile)
	if !ok {
		return outbound.Proxy{}
	}
	return outbound.Read(f.Data)
}

func readPart(ctx context.Context, b *bucket.Bucket, key string) error {
	const from, length = 3, 7
	body, _, err := b.Get(ctx, key, from, length)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err == nil && string(data) != key[from:from+length] {
		err = errors.New("the bucket answers with other bytes than it was given")
	}
	return err
}

// uploadParts uploads in one part, which may be small as it is the last.
func uploadParts(ctx context.Context, b *bucket.Bucket, key string) error {
	m, err := b.CreateMultipart(ctx, key)
	if err != nil {
		return err
	}
	part, err := b.UploadPart(ctx, m, 1, []byte(key))
	if err == nil {
		_, err = b.CompleteMultipart(ctx, m, []bucket.Part{part})
	}
	if err != nil {
		_ = b.AbortMultipart(ctx, m)
	}
	return err
}

// copyParts copies as a large blob is: in parts. A service that cannot is no worse,
// for there are other ways.
func copyParts(ctx context.Context, b *bucket.Bucket, from, to string) error {
	m, err := b.CreateMultipart(ctx, to)
	if err != nil {
		return err
	}
	parts, err := b.CopyParts(ctx, m, from, int64(len(from)), bucket.MinPart)
	if err == nil {
		_, err = b.CompleteMultipart(ctx, m, parts)
	}
	if err != nil {
		_ = b.AbortMultipart(ctx, m)
	}
	if bucket.Lacking(err) {
		return nil
	}
	return err
}

// problemOf is err with the key to fix.
func problemOf(err error) error {
	if err == nil {
		return nil
	}
	if p := bucket.Explain(err); p != nil {
		return secrets.Problem{Path: p.Key, Err: errors.New(p.Message)}
	}
	return secrets.Problem{Path: "storage.s3", Err: err}
}
