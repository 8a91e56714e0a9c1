// Package route reads a request below /v2/ into what it asks for, by the OCI
// distribution specification 1.1. It is pure: what only a file system or a bucket
// would reject is refused here, before anything else looks at the request.
package route

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Kind is what a path names.
type Kind string

// The kinds of paths. None is a path that the specification does not have.
const (
	Base     Kind = "base"
	Catalog  Kind = "catalog"
	Tags     Kind = "tags"
	Manifest Kind = "manifest"
	Blob     Kind = "blob"
	Upload   Kind = "upload"
	// Referrers is the list of what refers to a manifest.
	Referrers Kind = "referrers"
	None      Kind = "other"
)

// Request is what a request asks for. Fields that its kind does not have are empty.
type Request struct {
	Kind   Kind
	Name   string        // of the repository
	Tag    string        // of a manifest; else Digest is set
	Digest digest.Digest // of a manifest or blob, or what an upload must have
	ID     string        // of an upload; empty for one that begins
	Page   Page          // of a list
	Tags   []string      // that a manifest which is put by its digest gets
	Type   string        // the artifact type that referrers are asked for by; empty: all
	Mount  digest.Digest // that an upload may begin with, or a manifest is put by, instead of bytes
	From   string        // the repository of Mount; empty: any
	// Referrers is set where what refers to a manifest is put with it.
	Referrers bool

	// Admin is set where the client may do all with the repository.
	Admin bool

	// What a manifest that is put may replace (RFC 9110, 13.1); empty: anything.
	IfMatch, IfNoneMatch string
}

// methods are those of each kind; an upload that begins has its own.
var methods = map[Kind]string{
	Base:     "GET, HEAD, OPTIONS",
	Catalog:  "GET, OPTIONS",
	Tags:     "GET, OPTIONS",
	Manifest: "GET, HEAD, PUT, DELETE, OPTIONS",
	Blob:     "GET, HEAD, DELETE, OPTIONS",
	Upload:   "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",

	Referrers: "GET, HEAD, OPTIONS",
}

const methodsOfBegin = "POST, OPTIONS"

// Of returns the kind of a path whose part behind /v2/ is rest.
func Of(rest string) Kind {
	kind, _, _ := split(rest)
	return kind
}

// Parse reads a request whose path has rest behind /v2/. It returns nil, or why
// the request is refused.
func Parse(method, rest string, query url.Values, header http.Header) (Request, *Refusal) {
	kind, name, last := split(rest)
	q := Request{Kind: kind}
	if kind == None {
		return q, Unknown
	}
	if kind != Base && kind != Catalog {
		if !validName(name) {
			return q, badName
		}
		q.Name = name
	}
	allowed := methods[kind]
	if kind == Upload && last == "" {
		allowed = methodsOfBegin
	}
	if !allows(allowed, method) {
		return q, notAllowed(allowed)
	}
	var refusal *Refusal
	switch kind {
	case Catalog, Tags:
		refusal = q.parsePage(query)
	case Manifest:
		refusal = q.parseManifest(method, last, query)
		if method == http.MethodPut {
			q.IfMatch = strings.Join(header.Values("If-Match"), ",")
			q.IfNoneMatch = strings.Join(header.Values("If-None-Match"), ",")
		}
	case Referrers:
		if refusal = q.parseDigest(last); refusal == nil {
			q.Type = query.Get("artifactType")
			refusal = q.parsePage(query)
		}
	case Blob:
		refusal = q.parseDigest(last)
	case Upload:
		refusal = q.parseUpload(method, last, query, header)
	}
	return q, refusal
}

// Path is the path behind /v2/ in its canonical form.
func (q Request) Path() string {
	switch q.Kind {
	case Catalog:
		return "_catalog"
	case Tags:
		return q.Name + "/tags/list"
	case Manifest:
		return q.Name + "/manifests/" + q.Tag + q.Digest.String()
	case Blob:
		return q.Name + "/blobs/" + q.Digest.String()
	case Upload:
		return q.Name + "/blobs/uploads/" + q.ID
	case Referrers:
		return q.Name + "/referrers/" + q.Digest.String()
	}
	return ""
}

// split divides a path at its words. A name may have any of these words in it, so
// the last ones count.
func split(rest string) (kind Kind, name, last string) {
	switch rest {
	case "":
		return Base, "", ""
	case "_catalog":
		return Catalog, "", ""
	}
	dir, last := "", rest
	if at := strings.LastIndexByte(rest, '/'); at >= 0 {
		dir, last = rest[:at], rest[at+1:]
	}
	if name, ok := below(dir, "tags"); ok && last == "list" {
		return Tags, name, ""
	}
	if name, ok := below(dir, "manifests"); ok {
		return Manifest, name, last
	}
	if name, ok := below(dir, "referrers"); ok {
		return Referrers, name, last
	}
	if name, ok := below(dir, "blobs/uploads"); ok {
		return Upload, name, last
	}
	if name, ok := below(dir, "blobs"); ok {
		if last == "uploads" { // the slash is missing
			return Upload, name, ""
		}
		return Blob, name, last
	}
	return None, "", ""
}

// below tells whether dir ends with words, and what stands in front of them.
func below(dir, words string) (name string, ok bool) {
	if dir == words {
		return "", true
	}
	return strings.CutSuffix(dir, "/"+words)
}

func allows(allowed, method string) bool {
	for m := range strings.SplitSeq(allowed, ", ") {
		if m == method {
			return true
		}
	}
	return false
}

// parseReference reads a tag or a digest. A tag that nothing can have is not there
// for who reads.
func (q *Request) parseReference(method, reference string) *Refusal {
	if strings.ContainsRune(reference, ':') {
		return q.parseDigest(reference)
	}
	if !validTag(reference) {
		if method == http.MethodGet || method == http.MethodHead {
			return noSuchTag
		}
		return badTag
	}
	q.Tag = reference
	return nil
}

// maxTags is the most tags that one manifest is put with; the specification asks
// for at least ten.
const maxTags = 100

// parseManifest reads the reference of a manifest, and the tags that it gets beside
// a digest.
func (q *Request) parseManifest(method, reference string, query url.Values) *Refusal {
	if refusal := q.parseReference(method, reference); refusal != nil {
		return refusal
	}
	if method != http.MethodPut {
		return nil
	}
	if query.Has("mount") {
		if refusal := q.parseMount(query); refusal != nil {
			return refusal
		}
	}
	if q.Digest == "" {
		return nil
	}
	for _, tag := range query["tag"] {
		switch {
		case !validTag(tag):
			return badTag
		case len(q.Tags) == maxTags:
			return tooManyTags
		}
		q.Tags = append(q.Tags, tag)
	}
	return nil
}

// parseMount reads which manifest of which repository is put, instead of a body.
func (q *Request) parseMount(query url.Values) *Refusal {
	d, err := digest.Parse(query.Get("mount"))
	if err != nil || q.Digest != "" && q.Digest != d {
		return badMount
	}
	if !validName(query.Get("from")) {
		return badName
	}
	q.Mount, q.From, q.Referrers = d, query.Get("from"), query.Get("referrers") == "true"
	return nil
}

func (q *Request) parseDigest(text string) *Refusal {
	d, err := digest.Parse(text)
	if err != nil {
		return badDigest
	}
	q.Digest = d
	return nil
}

func (q *Request) parseUpload(method, id string, query url.Values, header http.Header) *Refusal {
	if id != "" && !validID(id) {
		return unknownUpload
	}
	q.ID = id
	if method != http.MethodPost && method != http.MethodPut && method != http.MethodPatch {
		return nil
	}
	if !validContentRange(header.Values("Content-Range")) {
		return badContentRange
	}
	if text := query.Get("digest"); text != "" {
		return q.parseDigest(text)
	}
	if method == http.MethodPost {
		// What nothing can have is not mounted: the upload begins.
		if d, err := digest.Parse(query.Get("mount")); err == nil {
			q.Mount, q.From = d, query.Get("from")
		}
	}
	return nil
}
