package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
)

// storageOptions are the storage options that distribution v3.1.2 reads and
// the appliance can serve with (registry/handlers/app.go, NewApp;
// registry/storage/driver/filesystem). Its own type takes any.
type storageOptions struct {
	Filesystem struct {
		RootDirectory string
		MaxThreads    int
	}
	Cache struct {
		BlobDescriptor     string
		LayerInfo          string
		BlobDescriptorSize int
	}
	Delete   struct{ Enabled bool }
	Redirect struct{ Disable bool }
	Tag      struct{ ConcurrencyLimit int }

	Maintenance struct {
		UploadPurging struct {
			Enabled  bool
			Age      time.Duration
			Interval time.Duration
			DryRun   bool
		}
		ReadOnly struct{ Enabled bool }
	}
	S3       any
	Azure    any
	GCS      any
	InMemory any
}

// words are the values that distribution takes for its types of text.
func words(t reflect.Type, path string) []string {
	switch {
	case t == reflect.TypeFor[configuration.Loglevel]():
		return []string{"error", "warn", "info", "debug"}
	case t == reflect.TypeFor[configuration.Platforms]():
		return []string{"all", "none", "list"}
	case path == "registry.log.formatter" || path == "environment.log.formatter":
		return []string{"text", "json", "logstash"}
	}
	return nil
}

// owned says for each of distribution's settings that the appliance depends on
// why no overlay may set it.
func owned(path string) string {
	switch path {
	case "version":
		return "the appliance sets this"
	case "loglevel":
		return "use log.level"
	case "log.hooks", "http.prefix", "http.h2c", "middleware", "storage.azure", "storage.gcs":
		return "not supported yet: registry." + path
	case "auth":
		return "use auth.users: the appliance has its own access control"
	case "http.addr", "http.net":
		return "use listen.httpsPort and listen.httpPort: systemd holds the sockets"
	case "http.host":
		return "use hostname"
	case "http.secret":
		return "use httpSecret"
	case "http.draintimeout":
		return "use listen.drainTimeout: systemd's own limits follow it"
	case "http.tls":
		return "use tls"
	case "http.debug":
		return "use metrics.listen"
	case "storage.filesystem.rootdirectory":
		return "use storage.filesystem.root: the registry may write nowhere else"
	case "storage.s3":
		return "not supported yet: storage.s3"
	case "storage.inmemory":
		return "every restart would lose all images; use storage.filesystem"
	case "storage.cache.blobdescriptor", "storage.cache.layerinfo":
		return "use cache.type"
	case "redis":
		return "use cache: the appliance runs its own Redis"
	case "proxy":
		return "not supported yet: mirrors"
	}
	return ""
}

// holdsOwned are the groups that hold an owned setting: null would take it
// away with them.
const holdsOwned = " http storage storage.cache storage.filesystem "

// overlay refuses what an overlay may not set.
func overlay(v *value, key string, report *Report) {
	if v == nil {
		return
	}
	refuse := func(path, message string, v *value) {
		*report = append(*report, Entry{File: v.at.File, Line: v.at.Line, Column: v.at.Column, Path: path, Message: message})
	}
	v.walk("", func(path string, v *value) {
		if reason := owned(path); reason != "" {
			refuse(key+"."+path, reason, v)
		} else if v.kind == unset && strings.Contains(holdsOwned, " "+path+" ") {
			refuse(key+"."+path, "null would take away what the appliance sets here", v)
		}
	})
}

// patch is the value as plain maps, for YAML that distribution reads: with
// durations as text and null as nil.
func (v *value) patch() any {
	switch v.kind {
	case group:
		m := make(map[string]any, len(v.keys))
		for _, key := range v.keys {
			m[key] = v.fields[key].patch()
		}
		return m
	case list:
		items := make([]any, len(v.items))
		for i, item := range v.items {
			items[i] = item.patch()
		}
		return items
	}
	if d, ok := v.scalar.(time.Duration); ok {
		return d.String()
	}
	return v.scalar
}
