package driver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

// A client's upload is several requests, and for each one upstream asks the storage again
// what the last one wrote. A session is what this process knows of one upload. It is used
// only if the client's own state names the same size: otherwise another node has continued
// the upload, and the store is asked.
type session struct {
	busy  sync.Mutex // held for each call of a writer; taken before mu
	owner *writer    // who writes; nil: nobody
	turn  int        // how many have begun to write
	by    string     // the request of the last of them

	mu        sync.Mutex
	ours      bool              // started here, and continued nowhere else
	startedAt []byte            // the file of that name
	states    map[string][]byte // the hash's states, by path
	written   []string          // paths of all that is there of it

	multipart bucket.Multipart
	parts     []bucket.Part
	size      int64
	torn      bool // the store has parts that do not count
	complete  bool // the data is an object, not an upload in parts
	committed bool // complete
	moved     bool // the data is at its final path
	ready     *ready
	writing   chan error // a state that is being written
}

// known tells whether this process has seen the upload.
func (s *session) known() bool {
	return s.ours || len(s.states) > 0 || s.committed || s.multipart.ID != ""
}

// ready is data that waits for its final path: the object appears there when
// its digest has been checked.
type ready struct {
	path   string
	upload *bucket.Upload
}

// maxSessions bounds the sessions of uploads that nobody ends.
const maxSessions = 4096

type sessions struct {
	tails  tails
	mu     sync.Mutex
	byPath *lru.LRU[string, *session]
}

func newSessions() *sessions {
	byPath, err := lru.NewLRU[string, *session](maxSessions, nil)
	if err != nil {
		panic(err) // of a size below 1, which is a constant
	}
	return &sessions{byPath: byPath}
}

func newSession() *session { return &session{states: map[string][]byte{}} }

// get gives what is known of the upload in a directory, nil for nothing.
func (s *sessions) get(dir string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, _ := s.byPath.Get(dir)
	return have
}

// add gives what is known, or a new session.
func (s *sessions) add(dir string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	have, ok := s.byPath.Get(dir)
	if !ok {
		have = newSession()
		s.byPath.Add(dir, have)
	}
	return have
}

// end gives what is known, and keeps only that the upload has ended.
func (s *sessions) end(dir string) *session {
	s.tails.keep(dir, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.byPath.Get(dir)
	if !ok {
		return nil
	}
	ended := newSession()
	ended.committed, ended.moved = true, true
	s.byPath.Add(dir, ended)
	return was
}

// offset is that of a hash's state, by its path.
func offset(p string) int64 {
	n, err := strconv.ParseInt(path.Base(p), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// requestID tells the requests that upstream answers apart.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value("http.request.id").(string)
	return id
}

// request is what upstream is answering.
func request(ctx context.Context) *http.Request {
	r, _ := ctx.Value("http.request").(*http.Request)
	return r
}

// expected is the size that the client's state names: upstream has signed it,
// checks that, and compares it with what we say.
func expected(ctx context.Context) (int64, bool) {
	r := request(ctx)
	if r == nil {
		return 0, false
	}
	const signature = 32
	data, err := base64.URLEncoding.DecodeString(r.URL.Query().Get("_state"))
	if err != nil || len(data) <= signature {
		return 0, false
	}
	var state struct{ Offset *int64 }
	if json.Unmarshal(data[signature:], &state) != nil || state.Offset == nil {
		return 0, false
	}
	return *state.Offset, true
}
