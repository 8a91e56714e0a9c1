//go:build faults

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// patience is how long a client waits before it says that the registry hangs:
// longer than what is allowed, so that what happens is seen.
const patience = 2 * time.Minute

// client pushes and pulls over HTTP, and takes note of every request.
type client struct {
	http *http.Client
	base *url.URL
	note func(request string, took time.Duration)
}

func newClient(base string, note func(string, time.Duration)) (*client, error) {
	u, err := url.Parse(base)
	return &client{base: u, note: note, http: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 4},
	}}, err
}

// wrong is an answer that no fault excuses.
type wrong struct{ text string }

func (w wrong) Error() string { return "wrong: " + w.text }

// answer is what came of a request, body and all.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer, and notes the longest wait in it. Statuses other than those wanted are
// errors, and wrong ones unless the registry says that it cannot now, and when.
func (c *client) do(method, target string, body *paced, length int64, header http.Header, want ...int) (answer, error) {
	at, err := c.base.Parse(target)
	if err != nil {
		return answer{}, err
	}
	var reader io.Reader // not a nil *paced
	if body == nil {
		body = newBody(nil)
	} else {
		reader = body
	}
	request, err := http.NewRequestWithContext(context.Background(), method, at.String(), reader)
	if err != nil {
		return answer{}, err
	}
	request.ContentLength = length
	request.SetBasicAuth(user, password)
	for name, values := range header {
		request.Header[name] = values
	}
	name := method + " " + at.Path
	response, err := c.http.Do(request)
	if err != nil {
		c.note(name, body.wait())
		if errors.Is(err, context.DeadlineExceeded) {
			return answer{}, wrong{fmt.Sprintf("%s has no answer after %s", name, patience)}
		}
		return answer{}, err
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(response.Body)
	c.note(name, body.wait())
	if err != nil {
		return a, fmt.Errorf("%s: %w", name, err)
	}
	for _, status := range want {
		if a.status == status {
			return a, nil
		}
	}
	err = fmt.Errorf("%s: %s %s", name, response.Status, bytes.TrimSpace(a.body[:min(len(a.body), 300)]))
	if a.status != http.StatusServiceUnavailable {
		return a, wrong{err.Error()}
	}
	if n, atoi := strconv.Atoi(a.header.Get("Retry-After")); atoi != nil || n <= 0 {
		return a, wrong{err.Error() + " without Retry-After"}
	}
	return a, err
}

// has asks for a blob as docker does before it pushes one.
func (c *client) has(repository string, b blob) (bool, error) {
	a, err := c.do(http.MethodHead, "/v2/"+repository+"/blobs/"+b.digest, nil, 0, nil, http.StatusOK, http.StatusNotFound)
	if err != nil || a.status == http.StatusNotFound {
		return false, err
	}
	if got := a.header.Get("Content-Length"); got != strconv.Itoa(b.size) {
		return false, wrong{fmt.Sprintf("a blob of %d bytes has %s", b.size, got)}
	}
	return true, nil
}

// way is how a blob is pushed.
type way int

const (
	chunked    way = iota // PATCH for each third, going on where the registry says after a failure
	streamed              // PATCH of unknown length, as docker does
	monolithic            // PUT with all of it
)

// paced is a body that comes as over a line of some 8 MB/s, so that a fault finds
// pushes in their middle. It notes how long the registry let it wait.
type paced struct {
	io.Reader
	mu     sync.Mutex
	given  time.Time // the last byte
	waited time.Duration
}

func newBody(data []byte) *paced { return &paced{Reader: bytes.NewReader(data), given: time.Now()} }

func (p *paced) Read(b []byte) (int, error) {
	p.wait()
	n, err := p.Reader.Read(b[:min(len(b), 64<<10)])
	time.Sleep(time.Duration(n) * time.Second / 8e6)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.given = time.Now()
	return n, err
}

// wait is the longest that the client has waited since it gave something.
func (p *paced) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited = max(p.waited, time.Since(p.given))
	return p.waited
}

// push stores a blob. It returns nil only when the registry said 201.
func (c *client) push(repository string, b blob, w way) error {
	a, err := c.do(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, 0, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	at, data := a.header.Get("Location"), b.data()
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	var rest []byte
	switch w {
	case chunked:
		at, err = c.chunks(at, data)
	case streamed:
		if a, err = c.do(http.MethodPatch, at, newBody(data), -1, octets, http.StatusAccepted); err == nil {
			at = a.header.Get("Location")
		}
	case monolithic:
		rest = data
	}
	if err != nil {
		return err
	}
	_, err = c.do(http.MethodPut, at+"&digest="+url.QueryEscape(b.digest), newBody(rest), int64(len(rest)), octets, http.StatusCreated)
	return err
}

// chunks sends data in three. After a failure it asks once how far the registry
// came, and continues there.
func (c *client) chunks(at string, data []byte) (string, error) {
	asked := false
	for from := 0; from < len(data); {
		to := min(len(data), from+len(data)/3+1)
		a, err := c.do(http.MethodPatch, at, newBody(data[from:to]), int64(to-from), http.Header{
			"Content-Type": {"application/octet-stream"}, "Content-Range": {fmt.Sprintf("%d-%d", from, to-1)},
		}, http.StatusAccepted)
		if err == nil {
			if got := a.header.Get("Range"); got != fmt.Sprintf("0-%d", to-1) {
				return "", wrong{fmt.Sprintf("%d bytes were accepted as %s", to, got)}
			}
			at, from = a.header.Get("Location"), to
			continue
		}
		if w := (wrong{}); asked || errors.As(err, &w) {
			return "", err
		}
		asked = true
		a, resume := c.do(http.MethodGet, strings.Split(at, "?")[0], nil, 0, nil, http.StatusNoContent, http.StatusNotFound)
		if resume != nil || a.status == http.StatusNotFound {
			return "", err // from the beginning, then
		}
		_, last, _ := strings.Cut(a.header.Get("Range"), "-")
		n, resume := strconv.Atoi(last)
		if resume != nil || n >= len(data) {
			return "", wrong{fmt.Sprintf("the upload of %d bytes continues at %q", len(data), a.header.Get("Range"))}
		}
		at, from = a.header.Get("Location"), n+1
		if n == 0 { // also means none, see the specification
			from = 0
		}
	}
	return at, nil
}

// tag stores an image's manifest.
func (c *client) tag(i image) error {
	a, err := c.do(http.MethodPut, "/v2/"+i.repository+"/manifests/"+i.tag, newBody(i.manifest), int64(len(i.manifest)),
		http.Header{"Content-Type": {manifestType}}, http.StatusCreated)
	if err == nil && a.header.Get("Docker-Content-Digest") != digestOf(i.manifest) {
		return wrong{"a manifest was stored as " + a.header.Get("Docker-Content-Digest")}
	}
	return err
}

// manifest fetches an image's manifest by its tag.
func (c *client) manifest(i image) error {
	a, err := c.do(http.MethodGet, "/v2/"+i.repository+"/manifests/"+i.tag, nil, 0, http.Header{"Accept": {manifestType}}, http.StatusOK)
	if err != nil {
		return err
	}
	if !bytes.Equal(a.body, i.manifest) {
		return wrong{fmt.Sprintf("the manifest of %s:%s is another", i.repository, i.tag)}
	}
	return nil
}

// pull fetches an image, and looks at each byte.
func (c *client) pull(i image) error {
	if err := c.manifest(i); err != nil {
		return err
	}
	for _, b := range i.blobs {
		if err := c.fetch(i.repository, b); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) fetch(repository string, b blob) error {
	a, err := c.do(http.MethodGet, "/v2/"+repository+"/blobs/"+b.digest, nil, 0, nil, http.StatusOK)
	if err != nil {
		return err
	}
	if got := digestOf(a.body); got != b.digest {
		return wrong{fmt.Sprintf("%d bytes of %s came as %d of %s", b.size, b.digest, len(a.body), got)}
	}
	return nil
}
