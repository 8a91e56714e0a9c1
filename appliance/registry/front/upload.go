package front

import (
	"bytes"
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// maxSeen is how many blobs it is known of where they are.
const maxSeen = 20_000

// Seen remembers in which repository a blob was last seen.
type Seen = lru.Cache[digest.Digest, string]

// NewSeen makes an empty memory.
func NewSeen() *Seen {
	seen, _ := lru.New[digest.Digest, string](maxSeen) // fails for sizes below one
	return seen
}

// note remembers the blob that a request was answered with.
func (f Front) note(q route.Request, status int) {
	dgst := q.Digest
	switch {
	case status < http.StatusOK, status >= http.StatusBadRequest, f.Seen == nil:
		return
	case q.Kind == route.Upload && status == http.StatusCreated && q.Mount != "":
		dgst = q.Mount
	case q.Kind == route.Upload && status == http.StatusCreated, q.Kind == route.Blob && status != http.StatusAccepted:
	default:
		return
	}
	f.Seen.Add(dgst, q.Name)
}

// begin begins an upload, or does all of it. The application takes no blob with the
// request that begins, and mounts none without a repository to take it from.
func (f Front) begin(a *answer, r *http.Request, q route.Request) {
	if f.Chunk > 0 {
		a.taken = func(h http.Header) { h.Set("OCI-Chunk-Min-Length", strconv.FormatInt(f.Chunk, 10)) }
	}
	switch {
	case q.Mount != "" && q.From == "" && f.mountAny(a, r, q):
	case q.Digest != "" && (r.ContentLength != 0 || q.Digest == q.Digest.Algorithm().FromBytes(nil)):
		f.whole(a, r, q)
	default:
		f.App.ServeHTTP(a, r)
	}
}

// stands adds where an upload stands to the headers of an answer, for a client to go on
// from there.
func (f Front) stands(h http.Header, r *http.Request) {
	k := &kept{header: http.Header{}}
	f.App.ServeHTTP(k, ask(r, http.MethodGet, r.URL.Path, url.Values{"_state": r.URL.Query()["_state"]}))
	if k.status != http.StatusNoContent {
		return // it has ended, or the client may push only
	}
	for _, name := range []string{"Location", "Range", "Docker-Upload-Uuid"} {
		h[name] = k.header[name]
	}
}

// withoutMount takes the mount from a request if the client may not pull from where it
// would take the blob: the upload begins as if the blob was not there.
func (f Front) withoutMount(r *http.Request, q route.Request) (*http.Request, route.Request) {
	from := r.Form.Get("from")
	if from == "" || f.mayPull(r, from) {
		return r, q
	}
	q.Mount, q.From = "", ""
	out, target, values := *r, *r.URL, maps.Clone(r.Form)
	values.Del("mount")
	values.Del("from")
	target.RawQuery = values.Encode()
	out.URL, out.Form = &target, values
	return &out, q
}

// mountAny mounts a blob from where it was last seen, if it is still there and the
// client may pull it. It tells whether it has answered.
func (f Front) mountAny(a *answer, r *http.Request, q route.Request) bool {
	if f.Seen == nil {
		return false
	}
	from, ok := f.Seen.Get(q.Mount)
	if !ok || !f.mayPull(r, from) {
		return false
	}
	k := &kept{header: http.Header{}}
	f.App.ServeHTTP(k, ask(r, http.MethodPost, r.URL.Path, url.Values{"mount": {q.Mount.String()}, "from": {from}}))
	if k.status != http.StatusCreated && k.status != http.StatusAccepted {
		return false // it may not be pulled; without the mount the client may push
	}
	k.pass(a)
	return true
}

// whole takes a blob with the request that begins its upload.
func (f Front) whole(a *answer, r *http.Request, q route.Request) {
	k := &kept{header: http.Header{}}
	f.App.ServeHTTP(k, ask(r, http.MethodPost, r.URL.Path, url.Values{}))
	next, err := url.Parse(k.header.Get("Location"))
	if k.status != http.StatusAccepted || err != nil {
		k.pass(a)
		return
	}
	values := next.Query()
	values.Set("digest", q.Digest.String())
	put := ask(r, http.MethodPut, next.Path, values)
	put.Body, put.ContentLength, put.TransferEncoding = r.Body, r.ContentLength, r.TransferEncoding
	f.App.ServeHTTP(a, put)
}

// ask is a request by the client of r, without a body.
func ask(r *http.Request, method, path string, query url.Values) *http.Request {
	out := *r
	target := *r.URL
	target.Path, target.RawPath, target.RawQuery = path, "", query.Encode()
	out.Method, out.URL, out.Form, out.PostForm = method, &target, query, url.Values{}
	out.Body, out.ContentLength, out.TransferEncoding = http.NoBody, 0, nil
	out.Header = r.Header.Clone()
	for _, name := range []string{"Content-Length", "Content-Range"} {
		out.Header.Del(name)
	}
	return &out
}

// kept is an answer that is not sent yet.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
	most   int // of the body that is kept; 0: as of an error
}

// Header implements http.ResponseWriter.
func (k *kept) Header() http.Header { return k.header }

// WriteHeader implements http.ResponseWriter.
func (k *kept) WriteHeader(status int) {
	if k.status == 0 && status >= 200 {
		k.status = status
	}
}

func (k *kept) Write(p []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	k.body.Write(p[:min(len(p), cmp.Or(k.most, maxError)-k.body.Len())])
	return len(p), nil
}

// pass sends the answer.
func (k *kept) pass(w http.ResponseWriter) {
	for name, values := range k.header {
		w.Header()[name] = values
	}
	w.WriteHeader(max(k.status, http.StatusOK))
	_, _ = w.Write(k.body.Bytes()) // the client has gone
}
