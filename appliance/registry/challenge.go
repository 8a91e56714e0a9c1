package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
	"github.com/redoubt-registry/redoubt/appliance/storage/sharedstate"
)

const challengePrefix = "/.well-known/acme-challenge/"

var challengeToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`) // RFC 8555, 8.1

// openChallenges is where redoubt renew puts the answers to a CA's challenges.
func openChallenges(dir string) sharedstate.Store {
	return sharedstate.Dir{Path: dir, GID: -1, Now: time.Now}
}

// challengesOption is the option of our access controller that says that the
// answers to challenges are in the bucket, where any machine finds them.
// Distribution's own words have none for it.
const challengesOption = "challenges"

// openAnswers finds the bucket with the answers, where several machines share it.
func (g *generation) openAnswers(s *server) error {
	options := g.config.Auth.Parameters()
	where, set := options[challengesOption]
	if !set {
		return nil
	}
	if kind := g.config.Storage.Type(); where != "bucket" || kind != "s3" && kind != "s3aws" {
		return fmt.Errorf("cannot use auth.%s.%s: it must be bucket, with a bucket for storage", g.config.Auth.Type(), challengesOption)
	}
	b, err := bucket.OpenDefault(g.config.Storage.Parameters())
	if err != nil {
		return err
	}
	g.answers = &answers{store: sharedstate.ChallengesIn(b), warn: func(err error) {
		s.log.WithError(err).Warn("cannot look for the answer to a CA's challenge")
	}}
	return nil
}

// challenge finds the answer to a challenge: this machine's, or another's.
func (s *server) challenge(ctx context.Context, g *generation, token string) ([]byte, error) {
	data, _, err := s.challenges.Get(ctx, token)
	if err == nil || g.answers == nil || len(token) < leastToken {
		return data, err
	}
	return g.answers.get(ctx, token)
}

// leastToken are the characters of 128 bits, which RFC 8555, 8.1, asks for.
const leastToken = 22

// serveChallenge answers a CA that asks on port 80 whether a name is this
// machine's (http-01, RFC 8555, 8.3). It says whether the request was one.
func (s *server) serveChallenge(g *generation, w http.ResponseWriter, r *http.Request) bool {
	token, ok := strings.CutPrefix(r.URL.Path, challengePrefix)
	if !ok || s.challenges == nil {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	if (r.Method != http.MethodGet && r.Method != http.MethodHead) || !challengeToken.MatchString(token) {
		http.NotFound(w, r)
		return true
	}
	answer, err := s.challenge(r.Context(), g, token)
	switch {
	case errors.Is(err, sharedstate.ErrNotFound) || err != nil && g.answers == nil:
		http.NotFound(w, r)
		return true
	case err != nil:
		page.Refused(w, http.StatusServiceUnavailable, "the answers to challenges cannot be read")
		return true
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(answer) // the CA may be gone
	return true
}
