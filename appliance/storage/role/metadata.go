package role

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Endpoints are where EC2 and the clouds that copy its interface answer, over
// IPv4 and over IPv6. The second is asked when the first cannot be reached.
func Endpoints() []string { return []string{"http://169.254.169.254", "http://[fd00:ec2::254]"} }

const (
	tokenPath = "/latest/api/token"
	rolePath  = "/latest/meta-data/iam/security-credentials/"
	// tokenLife is that of the session token, in seconds: for the requests of one
	// Fetch, no longer.
	tokenLife = "60"
	// fetchTimeout bounds one Fetch; dialTimeout reports sooner that nobody listens.
	fetchTimeout = 5 * time.Second
	dialTimeout  = time.Second
	// maxAnswer is the size limit of an answer, in bytes.
	maxAnswer = 64 << 10
)

// roleName is what IAM calls a role, RoleName in its API reference.
var roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

const useKeys = "or set storage.s3.accessKey and storage.s3.secretKey in place of storage.s3.iamRole"

// Metadata is the metadata service of the cloud, asked only by IMDSv2 ("Use the Instance
// Metadata Service", Amazon EC2 User Guide).
//
// The SDK's client for it is not used: it limits the life of credentials to an hour, so
// that they would be lost if the metadata service is away for longer, and its errors do
// not say whether the token was refused.
type Metadata struct {
	Endpoints []string // asked in this order
}

// Fetch asks for the credentials of the instance's role. It takes five seconds at
// most. Its errors are of type *Problem.
func (m Metadata) Fetch(ctx context.Context) (Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{ // no proxy: it would be given the credentials
			DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	var err error
	for _, endpoint := range m.Endpoints {
		var c Credentials
		c, err = session{client: client, endpoint: endpoint}.credentials(ctx)
		if p, ok := errors.AsType[*Problem](err); !ok || p.Code != NoMetadata {
			return c, err
		}
	}
	return Credentials{}, err
}

// session is a conversation with one endpoint.
type session struct {
	client          *http.Client
	endpoint, token string
}

func (s session) credentials(ctx context.Context) (Credentials, error) {
	var err error
	if s.token, err = s.begin(ctx); err != nil {
		return Credentials{}, err
	}
	status, list, err := s.ask(ctx, http.MethodGet, rolePath)
	switch {
	case err != nil:
		return Credentials{}, s.silent(err)
	case status == http.StatusNotFound, status == http.StatusOK && strings.TrimSpace(list) == "":
		return Credentials{}, problem(NoRole, "the instance has no role: attach one to it (on EC2 an instance profile), "+useKeys)
	case status != http.StatusOK:
		return Credentials{}, s.unexpected("for the name of the role", status)
	}
	role, _, _ := strings.Cut(strings.TrimSpace(list), "\n") // an instance has one
	if role = strings.TrimSpace(role); !roleName.MatchString(role) {
		return Credentials{}, problem(Unavailable, "what the metadata service at "+s.endpoint+" answers is no name of a role: it is not EC2's; set storage.s3.accessKey and storage.s3.secretKey")
	}
	status, text, err := s.ask(ctx, http.MethodGet, rolePath+role)
	switch {
	case err != nil:
		return Credentials{}, s.silent(err)
	case status != http.StatusOK:
		return Credentials{}, s.unexpected(fmt.Sprintf("for the credentials of the role %q", role), status)
	}
	return parse(role, text)
}

// begin gets a session token. Most mistakes in the setup of a machine show here.
func (s session) begin(ctx context.Context) (string, error) {
	status, token, err := s.ask(ctx, http.MethodPut, tokenPath)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return "", problem(NoMetadata, fmt.Sprintf("cannot reach the metadata service at %s: %v; "+
			"instance roles are of EC2 and clouds that copy its interface: on another cloud set storage.s3.accessKey and storage.s3.secretKey", s.endpoint, op.Err))
	}
	token = strings.TrimSpace(token)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", problem(TokenRefused, "the metadata service at "+s.endpoint+" takes connections, but gives no IMDSv2 token: "+
			"the answer is lost on the way if the instance's hop limit is too low for where this runs; "+
			"a limit of 1 is enough on the instance itself, 2 behind a bridge or in a container")
	case err != nil:
		return "", s.silent(err)
	case status == http.StatusForbidden:
		return "", problem(MetadataOff, "the metadata service refuses to answer: turn it on for this instance (on EC2 HttpEndpoint=enabled), "+useKeys)
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return "", problem(TokenRefused, fmt.Sprintf("the metadata service at %s knows no IMDSv2 tokens (it answers %d), "+
			"and nothing older is used: this cloud has no instance roles as EC2's; set storage.s3.accessKey and storage.s3.secretKey", s.endpoint, status))
	case status != http.StatusOK, token == "":
		return "", s.unexpected("for an IMDSv2 token", status)
	}
	return token, nil
}

// ask sends one request.
func (s session) ask(ctx context.Context, method, path string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.endpoint+path, nil)
	if err != nil {
		return 0, "", err
	}
	if method == http.MethodPut {
		r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", tokenLife)
	} else {
		r.Header.Set("X-Aws-Ec2-Metadata-Token", s.token)
	}
	w, err := s.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer w.Body.Close()
	data, err := io.ReadAll(io.LimitReader(w.Body, maxAnswer))
	return w.StatusCode, string(data), err
}

// silent is a service that accepted the connection and does not answer.
func (s session) silent(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v", fetchTimeout)
	}
	return problem(Unavailable, fmt.Sprintf("the metadata service at %s does not answer: %v", s.endpoint, err))
}

func (s session) unexpected(to string, status int) error {
	return problem(Unavailable, fmt.Sprintf("the metadata service at %s answers %d to the request %s", s.endpoint, status, to))
}

// parse reads the document of a role. Its errors show nothing of it but the code.
func parse(role, text string) (Credentials, error) {
	var d struct {
		Code, Message string
		Credentials
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Credentials{}, problem(Unavailable, fmt.Sprintf("cannot read what the metadata service says of the role %q: it is no JSON with a time of expiry", role))
	}
	if d.Code != "" && !strings.EqualFold(d.Code, "Success") {
		return Credentials{}, problem(RoleFailed, fmt.Sprintf("the metadata service has no credentials for the role %q: %s: %s; "+
			"look at the role's trust policy: the cloud's virtual machines must be allowed to assume it", role, d.Code, d.Message))
	}
	if d.AccessKeyID == "" || d.SecretAccessKey == "" || d.Expiration.IsZero() {
		return Credentials{}, problem(Unavailable, fmt.Sprintf("what the metadata service says of the role %q has no AccessKeyId, SecretAccessKey or Expiration", role))
	}
	return d.Credentials, nil
}
