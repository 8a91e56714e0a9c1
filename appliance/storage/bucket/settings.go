package bucket

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// Settings says which bucket, where it is and how to speak to it.
type Settings struct {
	Bucket   string
	Region   string
	Endpoint string // URL; empty is AWS itself
	// PathStyle puts the bucket's name in the path instead of the host's name.
	PathStyle bool
	Root      string // key prefix without a leading or trailing slash

	Encrypt      bool
	KMSKeyID     string
	StorageClass string // empty: the store's default
	ACL          string // empty: the store's default
	UserAgent    string // added to our own

	SkipVerify bool
	CABundle   string // path of a PEM file: trusted beside the system's CAs

	// Proxy is the way to the bucket; nil is the proxy of this process.
	Proxy *outbound.Proxy

	DualStack, FIPS, Accelerate bool

	// RedirectEndpoint is the URL that presigned addresses begin with, where
	// clients reach the store under another name.
	RedirectEndpoint string

	ChunkSize     int64 // bytes of a part of an upload
	CopyChunkSize int64 // bytes of a part of a server-side copy
	CopyThreshold int64 // larger objects are copied in parts
	CopyParallel  int   // parts copied at a time
}

const (
	mib = 1 << 20
	// MinPart is the least that S3 takes for a part that is not the last one.
	MinPart = 5 * mib
	// maxPart is S3's most.
	maxPart = 5 << 30
	// MaxParts is the most that S3 takes for one upload.
	MaxParts = 10000

	maxChunk             = 64 * mib
	defaultChunk         = 8 * mib
	defaultCopyChunk     = 32 * mib
	defaultCopyParallel  = 16
	defaultRegion        = "us-east-1"
	noStorageClass       = "NONE"
	standardStorageClass = "STANDARD"
)

// FromParameters reads the parameters of distribution's s3 driver, by its
// names, and our own cabundle. An error names the parameter.
func FromParameters(params map[string]any) (Settings, error) {
	r := reader{params: params}
	s := Settings{
		Bucket:           r.text("bucket"),
		Region:           r.text("region"),
		Root:             strings.Trim(r.text("rootdirectory"), "/"),
		Encrypt:          r.flag("encrypt", false),
		KMSKeyID:         r.text("keyid"),
		StorageClass:     strings.ToUpper(r.text("storageclass")),
		ACL:              r.text("objectacl"),
		UserAgent:        r.text("useragent"),
		SkipVerify:       r.flag("skipverify", false),
		CABundle:         r.text("cabundle"),
		DualStack:        r.flag("usedualstack", false),
		FIPS:             r.flag("usefipsendpoint", false),
		Accelerate:       r.flag("accelerate", false),
		RedirectEndpoint: r.origin("redirectendpoint"),
		ChunkSize:        r.number("chunksize", defaultChunk, MinPart, maxChunk),
		CopyChunkSize:    r.number("multipartcopychunksize", defaultCopyChunk, MinPart, maxPart),
		CopyThreshold:    r.number("multipartcopythresholdsize", defaultCopyChunk, 0, maxPart),
		CopyParallel:     int(r.number("multipartcopymaxconcurrency", defaultCopyParallel, 1, 1<<30)),
	}
	s.CopyParallel = min(s.CopyParallel, 100)
	s.Endpoint = r.endpoint("regionendpoint", r.flag("secure", true))
	s.PathStyle = r.flag("forcepathstyle", s.Endpoint != "" && !hostname.OfAWS(s.Endpoint))
	if !r.flag("v4auth", true) {
		r.fail("v4auth", "must be true: version 2 signatures are not supported")
	}
	if s.Bucket == "" {
		r.fail("bucket", "is missing")
	}
	if s.Region == "" {
		if s.Endpoint == "" {
			r.fail("region", "is missing: without regionendpoint the bucket is at AWS, which needs one")
		}
		s.Region = defaultRegion
	}
	if s.StorageClass == noStorageClass || s.StorageClass == standardStorageClass {
		s.StorageClass = ""
	}
	if s.ACL == "private" { // the default; buckets without ACLs refuse the header
		s.ACL = ""
	}
	if s.KMSKeyID != "" && !s.Encrypt {
		r.fail("keyid", "needs encrypt: true")
	}
	return s, r.err
}

// atAmazon tells whether the bucket is at AWS itself.
func (s Settings) atAmazon() bool { return s.Endpoint == "" || hostname.OfAWS(s.Endpoint) }

// reader reads parameters and keeps the first mistake.
type reader struct {
	params map[string]any
	err    error
}

func (r *reader) fail(name, rule string) {
	if r.err == nil {
		r.err = fmt.Errorf("cannot use storage.s3.%s: it %s", name, rule)
	}
}

func (r *reader) text(name string) string {
	if r.params[name] == nil {
		return ""
	}
	return fmt.Sprint(r.params[name])
}

func (r *reader) flag(name string, otherwise bool) bool {
	switch v := r.params[name].(type) {
	case nil:
		return otherwise
	case bool:
		return v
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b
		}
	}
	r.fail(name, "must be true or false")
	return otherwise
}

func (r *reader) number(name string, otherwise, least, most int64) int64 {
	if r.params[name] == nil {
		return otherwise
	}
	n, err := strconv.ParseInt(fmt.Sprint(r.params[name]), 10, 64)
	if err != nil || n < least || n > most {
		r.fail(name, fmt.Sprintf("must be a number from %d to %d", least, most))
		return otherwise
	}
	return n
}

// endpoint reads an endpoint given as host, host:port or URL.
func (r *reader) endpoint(name string, secure bool) string {
	v := r.text(name)
	if v == "" {
		return ""
	}
	if !strings.Contains(v, "://") {
		scheme := "https"
		if !secure {
			scheme = "http"
		}
		v = scheme + "://" + v
	}
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		r.fail(name, "must be a host, host:port or URL with http or https")
		return ""
	}
	if port := u.Port(); port != "" {
		if _, err := net.LookupPort("tcp", port); err != nil {
			r.fail(name, "has a port that is not one")
		}
	}
	return strings.TrimRight(u.String(), "/")
}

// origin reads a URL that is a scheme and a host alone.
func (r *reader) origin(name string) string {
	v := r.text(name)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		r.fail(name, "must be a URL with a scheme and a host and no more")
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// ChunkFor is the size of parts in which an object of size bytes can be copied, with
// room for as many to follow.
func (b *Bucket) ChunkFor(size int64) int64 {
	chunk := b.settings.ChunkSize
	for size/chunk >= MaxParts/2 && chunk < maxChunk {
		chunk = min(2*chunk, maxChunk)
	}
	return chunk
}
