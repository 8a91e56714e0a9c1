package registry

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/state"
)

const challengePrefix = "/.well-known/acme-challenge/"

var challengeToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`) // RFC 8555, 8.1

// openChallenges is where redoubt renew puts the answers to a CA's challenges.
func openChallenges(dir string) state.Store {
	return state.Dir{Path: dir, GID: -1, Now: time.Now}
}

// serveChallenge answers a CA that asks on port 80 whether a name is this
// machine's (http-01, RFC 8555, 8.3). It says whether the request was one.
func (s *server) serveChallenge(w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.URL.Path, challengePrefix)
	if !ok || s.challenges == nil {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	if (r.Method != http.MethodGet && r.Method != http.MethodHead) || !challengeToken.MatchString(token) {
		http.NotFound(w, r)
		return true
	}
	answer, _, err := s.challenges.Get(r.Context(), token)
	if err != nil {
		http.NotFound(w, r)
		return true
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(answer) // the CA may be gone
	return true
}
