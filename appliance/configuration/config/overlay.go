package config

import (
	"reflect"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
)

// storageOptions are the storage options that distribution v3.1.2 reads and
// the appliance can serve with (registry/handlers/app.go, NewApp;
// registry/storage/driver/filesystem and s3-aws). Its own type takes any.
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
	S3       s3Options
	Azure    any
	GCS      any
	InMemory any
}

// s3Options are the options of distribution's driver s3, all of them.
type s3Options struct {
	AccessKey                   string
	SecretKey                   string
	Bucket                      string
	Region                      string
	RegionEndpoint              string
	ForcePathStyle              bool
	Encrypt                     bool
	KeyID                       string
	Secure                      bool
	SkipVerify                  bool
	V4Auth                      bool
	ChunkSize                   int
	MultipartCopyChunkSize      int
	MultipartCopyMaxConcurrency int
	MultipartCopyThresholdSize  int
	RootDirectory               string
	StorageClass                string
	UserAgent                   string
	ObjectACL                   string
	UseDualStack                bool
	Accelerate                  bool
	UseFIPSEndpoint             bool
	LogLevel                    string
	RedirectEndpoint            string
}

// words are the values that distribution takes for its types of text.
func words(t reflect.Type, path string) []string {
	switch {
	case t == reflect.TypeFor[configuration.Loglevel]():
		return []string{"error", "warn", "info", "debug"}
	case t == reflect.TypeFor[configuration.Platforms]():
		return []string{"all", "none", "list"}
	}
	switch _, path, _ = strings.Cut(path, "."); path {
	case "log.formatter":
		return []string{"text", "json", "logstash"}
	case "storage.s3.storageclass":
		return []string{"NONE", "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING",
			"OUTPOSTS", "GLACIER_IR", "EXPRESS_ONEZONE"}
	case "storage.s3.objectacl":
		return []string{"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read",
			"bucket-owner-read", "bucket-owner-full-control"}
	}
	return nil
}

// holdsOwned are the groups that hold an owned setting: null would take it
// away with them.
const holdsOwned = " http storage storage.cache storage.filesystem storage.s3 "

// overlay refuses what an overlay may not set although its words are right. label is how
// a path of it was written. In cfg, what it says of a bucket is ours already.
func overlay(v *value, label func(path string) string, cfg Config, report *Report) {
	if v == nil {
		return
	}
	refuse := func(path, message string, v *value) {
		*report = append(*report, Entry{File: v.at.File, Line: v.at.Line, Column: v.at.Column, Path: label(path), Message: message})
	}
	v.walk("", func(path string, v *value) {
		if v.kind == unset && strings.Contains(holdsOwned, " "+path+" ") {
			refuse(path, "null would take away what the appliance sets here", v)
		} else if reason := idle(path, v.scalar, cfg); reason != "" && v.kind != unset {
			refuse(path, reason, v)
		} else if reason := outOfRange(path, v.scalar); reason != "" && v.kind == scalar {
			refuse(path, reason, v)
		}
	})
}

// idle says why a setting would have no effect beside what cfg says.
func idle(path string, scalar any, cfg Config) string {
	switch {
	case path == "storage.filesystem" && cfg.Storage.S3 != nil:
		return "the storage is storage.s3: leave this out"
	case path == "storage.redirect.disable" && scalar == false && cfg.Storage.S3 == nil:
		return "clients can be sent to a bucket alone: leave this out"
	case path == "storage.cache.blobdescriptorsize" && cfg.Cache.Type != "memory":
		return "has an effect with cache.type memory alone: leave this out, or use that and cache.size"
	case path == "http.relativeurls" && scalar == false && cfg.TLS.Mode != "off":
		return "links here never name a host, so that they are right behind a proxy too: leave this out"
	}
	return ""
}

// outOfRange says why the S3 driver cannot work with a number or a switch.
func outOfRange(path string, scalar any) string {
	const mebibyte = 1 << 20
	number, _ := scalar.(int)
	switch path {
	case "storage.s3.chunksize":
		if number < 5*mebibyte || number > 64*mebibyte {
			return "must be from 5242880 to 67108864 bytes: 5 MiB to 64 MiB"
		}
	case "storage.s3.multipartcopythresholdsize":
		if number < 0 || number > 5120*mebibyte {
			return "must be from 0 to 5368709120 bytes: up to 5 GiB"
		}
	case "storage.s3.multipartcopychunksize":
		if number < 5*mebibyte || number > 5120*mebibyte {
			return "must be from 5242880 to 5368709120 bytes: 5 MiB to 5 GiB"
		}
	case "storage.s3.multipartcopymaxconcurrency":
		if number < 1 {
			return "must be at least 1"
		}
	case "storage.s3.v4auth":
		if scalar == false {
			return "must be true: requests are signed with version 4 alone"
		}
	}
	return ""
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
