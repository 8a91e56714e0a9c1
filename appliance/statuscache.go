package appliance

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
	"github.com/redoubt-registry/redoubt/appliance/registryyml"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// cacheTimeout is less than that of the whole status, so that the cache's own error is
// shown.
const cacheTimeout = 10 * time.Second

// cacheStatus asks Redis about itself, as the registry reaches it.
func (m *Machine) cacheStatus(ctx context.Context, now target, r *status.Report) error {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	server, err := m.redis(now)
	if err != nil {
		return err
	}
	conn, err := server.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	keys, err := conn.DBSize(ctx).Result()
	if err != nil {
		return server.Explain(err)
	}
	r.Cache.Keys = keys
	r.Cache.Memory, _ = strconv.ParseInt(conn.Info["used_memory"], 10, 64) // 0 where Redis does not say
	r.Versions.Redis = conn.Info["redis_version"]
	return nil
}

// redis is the server that registry.yml names, with the files below the root.
func (m *Machine) redis(now target) (*redis.Server, error) {
	file, ok := now.files.Lookup(paths.RegistryYML)
	if !ok {
		return nil, fmt.Errorf("cannot read %s: redoubt apply makes it", paths.RegistryYML)
	}
	c, err := registryyml.Read(file.Data)
	if err != nil {
		return nil, fmt.Errorf("cannot read the redis section of %s: run redoubt apply to write it again", paths.RegistryYML)
	}
	for i, path := range c.Redis.TLS.RootCAs {
		c.Redis.TLS.RootCAs[i] = filepath.Join(m.Root, path)
	}
	for i, address := range c.Redis.Options.Addrs {
		if filepath.IsAbs(address) {
			c.Redis.Options.Addrs[i] = filepath.Join(m.Root, address)
		}
	}
	return redis.New(c.Redis, filepath.Join(m.Root, paths.Credentials))
}
