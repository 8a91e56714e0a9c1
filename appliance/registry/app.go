package registry

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/health"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage/cache/memory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // registers itself
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"   // registers itself
	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/blob"
	"github.com/redoubt-registry/redoubt/appliance/registry/blobcache"
	"github.com/redoubt-registry/redoubt/appliance/registry/cors"
	"github.com/redoubt-registry/redoubt/appliance/registry/etag"
	"github.com/redoubt-registry/redoubt/appliance/registry/front"
	"github.com/redoubt-registry/redoubt/appliance/registry/links"
	"github.com/redoubt-registry/redoubt/appliance/registry/manifest"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
	"github.com/redoubt-registry/redoubt/appliance/registry/referrers"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
	"github.com/redoubt-registry/redoubt/appliance/registry/uses"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/directory"
	"github.com/redoubt-registry/redoubt/appliance/storage/driver"
	"github.com/redoubt-registry/redoubt/appliance/storage/fault"
	"github.com/redoubt-registry/redoubt/appliance/storage/storagecheck"
	"github.com/redoubt-registry/redoubt/appliance/storage/trash"
)

// register registers our parts with distribution, which finds them by name.
func register() {
	users.Register()
	blob.Register()
	blobcache.Register()
	manifest.Register()
	links.Register()
	driver.Register()
	directory.Register()
	trash.Register()
}

// buildApp makes distribution's application and what stands in front of it.
func (g *generation) buildApp(s *server, old *generation) error {
	c := g.config
	g.base = strings.TrimSuffix(c.HTTP.Prefix, "/") + "/v2"
	g.takeTable(s, old)
	if err := g.takeRights(s, old); err != nil {
		return err
	}
	if err := g.takeCache(s, old); err != nil {
		return err
	}
	written := &links.Links{}
	found := referrers.New(written, func(text string, err error) {
		if err == nil {
			s.log.Info(text)
			return
		}
		s.log.WithError(err).Warn(text)
	})
	guard := trash.NewGuard(s.opts.grace())
	used := uses.New(written)
	if c.Proxy.RemoteURL == "" {
		if err := g.takeQuotas(); err != nil {
			return err
		}
	}
	if err := g.serveBlobs(written, used, guard); err != nil {
		return err
	}
	g.addMiddleware("storage", trash.Name, configuration.Parameters{trash.GuardOption: guard})
	g.addMiddleware("registry", links.Name, configuration.Parameters{links.Option: written})
	g.addMiddleware("repository", manifest.Name, g.keepManifests(written, found, used, guard))
	g.addMiddleware("storage", blobcache.Name, nil)
	g.keepUploads(s.uploads)
	headers, host := c.HTTP.Headers, c.HTTP.Host
	app := *c // upstream changes it
	app.HTTP.Headers = nil
	app.HTTP.Debug.Prometheus.Enabled = false // a second application panics on it
	if c.Health.StorageDriver.Enabled {       // by redoubt health, which knows more than up and down
		g.grade = s.grade
		app.Health.StorageDriver.Enabled = false
	}
	if c.HTTP.TLS.Certificate != "" || c.HTTP.RelativeURLs && len(g.proxies) > 0 {
		// Links say no name and port: what the client used may be another one than what
		// arrives here, behind a proxy or a port map.
		app.HTTP.Host, app.HTTP.RelativeURLs = "", true
	}
	takeManifests(&app)
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.health = health.NewRegistry()
	var err error
	if g.app, err = newApp(ctx, &app); err != nil {
		return err
	}
	g.app.RegisterHealthChecks(g.health)
	g.storage = written.Driver
	if g.quotas != nil {
		go g.quotas.run(ctx, g.storage, func(err error) { s.log.WithError(err).Warn("the usage of quotas is not exact") })
	}
	api := front.Front{App: g.app, Base: g.base, Catalog: c.Catalog.MaxEntries, Tags: c.Tags.MaxTags, Seen: front.NewSeen(), Chunk: g.chunk}
	api.Pulled = func(q route.Request, digest string) {
		names := []string{q.Name + "@" + digest}
		if q.Tag != "" {
			names = append(names, q.Name+":"+q.Tag)
		}
		s.pulls.Note(names...)
	}
	if err := g.answerOurselves(&api, written, found); err != nil {
		return err
	}
	if g.rights != nil {
		api.MayPull = g.rights.mayPull
		if c.Proxy.RemoteURL == "" {
			api.Mount = mounting{written, found, guard, g.keeper(written, used)}.mount
		}
	}
	g.handler = g.route(api, page.Welcome{Host: display(host)}, cors.New(headers))
	return nil
}

// answerOurselves makes the answers that are not the application's. A pull-through cache
// has none, and manifests are the application's where somebody is notified of them.
func (g *generation) answerOurselves(api *front.Front, written *links.Links, found *referrers.Index) error {
	c := g.config
	if c.Proxy.RemoteURL != "" {
		return nil
	}
	api.Known = written.Known
	login, err := openAccess(c)
	if err != nil {
		return err
	}
	api.Referrers = func(w http.ResponseWriter, r *http.Request, q route.Request) {
		if login.mayPull(w, r, q.Name) {
			found.Serve(w, r, q)
		}
	}
	if len(c.Notifications.Endpoints) > 0 {
		return nil
	}
	var knows manifest.Knows
	if g.descriptors != nil {
		knows = g.descriptors.HasManifest
	}
	manifests := manifest.NewReader(written, g.root, knows)
	api.Manifest = func(w http.ResponseWriter, r *http.Request, q route.Request) bool {
		return login.pulls(r, q.Name) == nil && manifests.Serve(w, r, q)
	}
	return nil
}

// fileChunk is the least size that chunks for a directory are to have, in bytes: each
// costs a sync of the disk.
const fileChunk = 4 << 20

// tagsAtOnce is how many tags are read side by side to find those of a manifest.
const tagsAtOnce = 32

// takeManifests sets what manifests may refer to where the configuration does not say:
// as the specification has it, an index to what is not there, and a layer to where else
// it is kept.
func takeManifests(c *configuration.Configuration) {
	v := &c.Validation.Manifests
	if v.Indexes.Platforms == "" {
		v.Indexes.Platforms = "none"
	}
	if len(v.URLs.Allow) == 0 && len(v.URLs.Deny) == 0 {
		v.URLs.Allow = []string{"^https?://"}
	}
	if c.Storage["tag"] == nil { // else as many at a time as there are processors
		c.Storage["tag"] = configuration.Parameters{"concurrencylimit": tagsAtOnce}
	}
}

// storageFailed answers a request that the storage has failed.
func storageFailed(w http.ResponseWriter, err error) {
	page.Unavailable(w, because("the registry's storage has failed", storagecheck.Reason(err)))
}

// newApp calls upstream's constructor, which panics instead of returning an error.
func newApp(ctx context.Context, c *configuration.Configuration) (app *handlers.App, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			app, err = nil, fmt.Errorf("cannot use the configuration: %v", cause)
		}
	}()
	return handlers.NewApp(ctx, c), nil
}

// digestOption is the option of our access controller with the digest of the table of users
// that belongs to the rules. Distribution's own words have none for it.
const digestOption = "users"

// takeTable hands the table of users to our access controller.
func (g *generation) takeTable(s *server, old *generation) {
	kind := g.config.Auth.Type()
	if kind != users.Name && kind != "htpasswd" {
		return
	}
	options := g.config.Auth.Parameters()
	path, err := users.Path(options)
	if err != nil {
		return // the controller says so
	}
	if old != nil && old.table != nil && old.tablePath == path {
		g.table = old.table
	} else {
		g.table = users.NewTable(path, func(err error) {
			s.log.WithError(err).Error("the table of users is refused; the one before it stays, if there is one")
		})
	}
	digest, _ := options[digestOption].(string) // without it the newest counts
	g.table = g.table.Of(digest)
	g.tablePath = path
	options[users.TableOption] = g.table
}

// takeCache replaces upstream's caches with ours.
func (g *generation) takeCache(s *server, old *generation) error {
	section, kept := g.config.Redis, g.config.Storage["cache"]
	g.config.Redis = configuration.Redis{} // upstream would keep connections open
	delete(g.config.Storage, "cache")
	switch kept["blobdescriptor"] {
	case "redis":
		if err := g.takeRedis(s, old, section); err != nil {
			return err
		}
		g.descriptors = g.cache.Kinds()
	case "inmemory":
		size := memory.DefaultSize
		if given, ok := kept["blobdescriptorsize"]; ok {
			var err error
			if size, err = strconv.Atoi(fmt.Sprint(given)); err != nil {
				return fmt.Errorf("cannot use storage.cache.blobdescriptorsize: %w", err)
			}
		}
		g.descriptors = blobcache.Memory(size)
	}
	g.addMiddleware("registry", blobcache.Name, configuration.Parameters{blobcache.CacheOption: g.descriptors})
	return nil
}

// takeRedis makes the cache in Redis, or takes over the one that is in use.
func (g *generation) takeRedis(s *server, old *generation, section configuration.Redis) error {
	redisServer, err := redis.New(section, redis.Directories()...)
	if err != nil {
		return err
	}
	prefix := ""
	if redisServer.Shared() {
		prefix = blobcache.Prefix(g.config.Storage)
	}
	key, err := yaml.Marshal(section)
	if err != nil {
		return fmt.Errorf("cannot use redis: %w", err)
	}
	g.cacheKey = prefix + string(key)
	if old != nil && old.cache != nil && old.cacheKey == g.cacheKey {
		g.cache = old.cache
	} else {
		g.cache = blobcache.New(redisServer, prefix, func(text string, err error) {
			if err == nil {
				s.log.Info(text)
				return
			}
			s.log.WithError(err).Warn(text)
		})
	}
	return nil
}

// serveBlobs serves blobs directly from their files, or from the bucket if clients are not
// redirected there, unless another middleware needs to see them.
func (g *generation) serveBlobs(written *links.Links, used *uses.Index, guard *trash.Guard) error {
	c := g.config
	var source blob.Source
	redirect := false
	switch params := c.Storage.Parameters(); c.Storage.Type() {
	case "filesystem":
		root, ok := params["rootdirectory"].(string)
		if !ok {
			return nil
		}
		g.root, source, g.chunk = root, blob.Files(root), fileChunk
	case "s3", "s3aws":
		b, err := bucket.OpenDefault(params)
		if err != nil {
			return err
		}
		params[driver.BucketOption] = b
		off, _ := c.Storage["redirect"]["disable"].(bool)
		source, redirect, g.chunk = blob.Objects(b), !off, b.ChunkFor(0)
	default:
		return nil
	}
	if c.Proxy.RemoteURL == "" {
		seen := len(c.Notifications.Endpoints) > 0 || len(c.Middleware["storage"]) > 0
		options := configuration.Parameters{
			blob.SourceOption: source, blob.RedirectOption: redirect, blob.LinksOption: written,
			blob.UsesOption: used, blob.UpstreamOption: seen, blob.GuardOption: guard,
		}
		if g.descriptors != nil {
			options[blob.ForgetOption] = g.descriptors.Forget
		}
		if keeper := g.keeper(written, used); keeper != nil {
			options[blob.SpaceOption] = keeper
		}
		g.addMiddleware("repository", blob.Name, options)
	}
	return nil
}

// keepManifests are the options of what keeps manifests.
func (g *generation) keepManifests(written *links.Links, found *referrers.Index, used *uses.Index, guard *trash.Guard) configuration.Parameters {
	options := configuration.Parameters{
		manifest.LinksOption: written, manifest.ReferrersOption: found, manifest.UsesOption: used, manifest.GuardOption: guard,
	}
	if g.descriptors != nil {
		options[manifest.ForgetOption] = g.descriptors.Forget
	}
	if g.rights != nil {
		options[manifest.ImmutableOption] = g.rights.immutable
	}
	if keeper := g.keeper(written, used); keeper != nil {
		options[manifest.SpaceOption] = keeper
	}
	return options
}

// keepUploads makes the uploads of a directory what those of a bucket are.
func (g *generation) keepUploads(uploads *directory.Uploads) {
	if g.root == "" {
		return
	}
	g.addMiddleware("storage", directory.Name, configuration.Parameters{directory.RootOption: g.root, directory.UploadsOption: uploads})
}

func (g *generation) addMiddleware(kind, name string, options configuration.Parameters) {
	if g.config.Middleware == nil {
		g.config.Middleware = map[string][]configuration.Middleware{}
	}
	g.config.Middleware[kind] = append(g.config.Middleware[kind], configuration.Middleware{
		Name: name, Options: options,
	})
}

// route is the way of a request: what asks for nothing of the registry's goes to
// rest, and the registry's paths through the checks to the application.
func (g *generation) route(api front.Front, rest http.Handler, policy cors.Policy) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		policy.Set(w.Header(), r)
		if r.URL.Path != api.Base && !strings.HasPrefix(r.URL.Path, api.Base+"/") {
			rest.ServeHTTP(w, r)
			return
		}
		if policy.Preflight(w, r) {
			return
		}
		if g.keys != nil && r.URL.Path == api.Base+tokenPath {
			g.serveToken(w, r)
			return
		}
		r, q, refusal := api.Read(r)
		if refusal == nil && g.unavailable(w, r) {
			return
		}
		if g.table != nil && !g.table.Ready() {
			page.Unavailable(w, "the registry's table of users cannot be read")
			return
		}
		if r = g.login(w, r); r == nil {
			return
		}
		if r = g.permit(w, r, q, refusal); r == nil {
			return
		}
		if r.Method == http.MethodDelete {
			q.Admin = g.rights.isAdmin(r, q.Name)
		}
		if g.cache != nil {
			r = r.WithContext(g.cache.Request(r.Context()))
		}
		serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.Serve(w, r, q, refusal) })
		etag.Handler(fault.Handler(serve, storageFailed)).ServeHTTP(w, r)
	})
}

// unavailable answers a request for which the storage is not good enough, and says
// whether it did.
func (g *generation) unavailable(w http.ResponseWriter, r *http.Request) bool {
	if failed := g.failures(r.Context()); len(failed) > 0 {
		page.Unavailable(w, g.reason(failed))
		return true
	}
	return g.grade != nil && g.grade.refuse(w, r)
}

// reason says which checks have failed. The operator's own are called by paths and
// addresses, which are none of a client's business.
func (g *generation) reason(failed map[string]string) string {
	for _, c := range g.config.Health.FileCheckers {
		if _, ok := failed[c.File]; ok {
			return "the registry is taken out of service by a file (health.file of its configuration)"
		}
	}
	for _, c := range g.config.Health.HTTPCheckers {
		if _, ok := failed[c.URI]; ok {
			return "a service that the registry needs does not answer (health.http of its configuration)"
		}
	}
	for _, c := range g.config.Health.TCPCheckers {
		if _, ok := failed[c.Addr]; ok {
			return "a service that the registry needs does not answer (health.tcp of its configuration)"
		}
	}
	return "the registry's storage is not available"
}

// display is the host that a client logs in to.
func display(host string) string {
	if _, rest, ok := strings.Cut(host, "://"); ok {
		return strings.TrimSuffix(rest, "/")
	}
	return host
}
