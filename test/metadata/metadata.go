// Package metadata is a metadata service for tests: that of EC2, as far as a role's
// credentials and user-data go, with IMDSv2 tokens that really are asked for ("Use
// the Instance Metadata Service", Amazon EC2 User Guide), and that of OpenStack.
package metadata

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Role is what the service says of the instance's role.
type Role struct {
	Code            string
	Message         string `json:",omitempty"`
	LastUpdated     time.Time
	Type            string
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// Service is the metadata service. Its zero value has no role.
type Service struct {
	mu       sync.Mutex
	name     string
	role     func() Role
	mode     Mode
	userData string
	tokens   map[string]time.Time // until when each is valid
	asked    map[string]int       // requests by "METHOD path"
	refused  int                  // requests without a valid token
	inHand   int
	most     int
	gone     chan struct{}
}

// Mode is how the service behaves.
type Mode int

// The modes.
const (
	Good     Mode = iota
	Disabled      // every request is forbidden, as with HttpEndpoint=disabled
	Older         // knows no tokens
	Open          // asks for no tokens, as with HttpTokens=optional
	Far           // a token never arrives, as with a hop limit that is too low
	Frozen        // nothing is answered
	Broken        // 500
)

// Attach gives the instance a role, whose credentials role makes again at each
// request; a nil role takes it away.
func (s *Service) Attach(name string, role func() Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.role = name, role
}

// Keys is a role with the given keys that are valid for life.
func Keys(access, secret, token string, life time.Duration) Role {
	now := time.Now().UTC().Truncate(time.Second)
	return Role{Code: "Success", Type: "AWS-HMAC", LastUpdated: now,
		AccessKeyID: access, SecretAccessKey: secret, Token: token, Expiration: now.Add(life)}
}

// Set changes how the service behaves. Requests that hang are let go.
func (s *Service) Set(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
	if s.gone != nil {
		close(s.gone)
		s.gone = nil
	}
}

// UserData is what the service tells about user-data.
func (s *Service) UserData(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.userData = text
}

// Asked is the number of requests, each as METHOD and path.
func (s *Service) Asked(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[what]
}

// Refused is the number of requests without a valid token.
func (s *Service) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Most is the greatest number of requests at one time.
func (s *Service) Most() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode, gone := s.enter(r)
	defer s.leave()
	token := r.URL.Path == "/latest/api/token"
	switch {
	case mode == Frozen, mode == Far && token:
		select {
		case <-gone:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case mode == Broken:
		http.Error(w, "500 - Internal Server Error", http.StatusInternalServerError)
	case mode == Disabled:
		http.Error(w, "403 - Forbidden", http.StatusForbidden)
	case mode == Older && token:
		http.Error(w, "404 - Not Found", http.StatusNotFound)
	case token:
		s.give(w, r)
	case mode != Open && !s.allowed(r):
		http.Error(w, "401 - Unauthorized", http.StatusUnauthorized)
	default:
		s.tell(w, r)
	}
}

func (s *Service) enter(r *http.Request) (Mode, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked, s.tokens = map[string]int{}, map[string]time.Time{}
	}
	if s.gone == nil {
		s.gone = make(chan struct{})
	}
	s.asked[r.Method+" "+r.URL.Path]++
	s.inHand++
	s.most = max(s.most, s.inHand)
	return s.mode, s.gone
}

func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inHand--
}

// give makes a token, under the service's own rules: a PUT, a time to live of one
// second to six hours, and no sign of a proxy.
func (s *Service) give(w http.ResponseWriter, r *http.Request) {
	const header = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	ttl, err := strconv.Atoi(r.Header.Get(header))
	switch {
	case r.Method != http.MethodPut:
		http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
		return
	case r.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "403 - Forbidden", http.StatusForbidden)
		return
	case err != nil || ttl < 1 || ttl > 21600:
		http.Error(w, "400 - Bad Request", http.StatusBadRequest)
		return
	}
	token := make([]byte, 28)
	rand.Read(token) // it never fails
	s.mu.Lock()
	s.tokens[hex.EncodeToString(token)] = time.Now().Add(time.Duration(ttl) * time.Second)
	s.mu.Unlock()
	w.Header().Set(header, strconv.Itoa(ttl))
	fmt.Fprint(w, hex.EncodeToString(token))
}

func (s *Service) allowed(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.tokens[r.Header.Get("X-Aws-Ec2-Metadata-Token")]) {
		return true
	}
	s.refused++
	return false
}

// oldest is the version of the metadata that cloud-init takes where none of the newer
// ones is there.
const oldest = "2009-04-04"

// tell answers with metadata.
func (s *Service) tell(w http.ResponseWriter, r *http.Request) {
	const roles = "/latest/meta-data/iam/security-credentials/"
	s.mu.Lock()
	name, role, userData := s.name, s.role, s.userData
	s.mu.Unlock()
	path := strings.Replace(r.URL.Path, "/"+oldest+"/", "/latest/", 1)
	switch {
	case r.Method != http.MethodGet:
		http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
	case path == "/latest/meta-data/":
		fmt.Fprint(w, "instance-id")
	case path == "/latest/meta-data/instance-id":
		fmt.Fprint(w, "i-0123456789abcdef0")
	case path == "/latest/user-data" && userData != "":
		fmt.Fprint(w, userData)
	case role != nil && strings.TrimSuffix(path, "/") == strings.TrimSuffix(roles, "/"):
		fmt.Fprint(w, name)
	case role != nil && path == roles+name:
		json.NewEncoder(w).Encode(role()) // the client is gone
	default:
		http.Error(w, "404 - Not Found", http.StatusNotFound)
	}
}
