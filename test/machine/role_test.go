//go:build machine

package machine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/metadata"
	"github.com/redoubt-registry/redoubt/test/stores"
	"github.com/redoubt-registry/redoubt/units"
)

// bucketOn puts a store on the network, and returns what storage.s3 needs to say,
// but for the keys.
func bucketOn(t *testing.T, lan *machine.Lan) (store *stores.Store, bucket, s3 string) {
	t.Helper()
	store = stores.MinIO(t)
	u, err := url.Parse(store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	at := net.JoinHostPort(machine.LanAddress, "9000")
	lan.Forward(at, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", u.Host) })
	bucket = store.NewBucket(t)
	return store, bucket, fmt.Sprintf("endpoint: http://%s, bucket: %s, region: %s, redirect: false", at, bucket, store.Region)
}

// role is what an instance has: temporary credentials that the store itself gives
// out. Each request makes new ones.
type role struct {
	mu   sync.Mutex
	life time.Duration
	made []metadata.Role
	ask  func() (metadata.Role, error)
}

// attach gives the instance the role of a user of the store.
func attach(t *testing.T, service *metadata.Service, store *stores.Store) *role {
	t.Helper()
	u := store.NewUser(t)
	client := sts.New(sts.Options{Region: store.Region, BaseEndpoint: aws.String(store.Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(u.AccessKey, u.SecretKey, "")})
	r := &role{ask: func() (metadata.Role, error) {
		out, err := client.AssumeRole(context.Background(), &sts.AssumeRoleInput{DurationSeconds: aws.Int32(3600),
			RoleArn: aws.String("arn:aws:iam::123456789012:role/registry"), RoleSessionName: aws.String("i-0123456789abcdef0")})
		if err != nil {
			return metadata.Role{}, err
		}
		c := out.Credentials
		return metadata.Keys(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken, time.Until(*c.Expiration)), nil
	}}
	service.Attach("registry", r.new)
	return r
}

func (r *role) new() metadata.Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	got, err := r.ask()
	if err != nil {
		return metadata.Role{Code: "Failed", Message: err.Error()}
	}
	if r.life > 0 {
		got.Expiration = time.Now().UTC().Add(r.life)
	}
	r.made = append(r.made, got)
	return got
}

func (r *role) live(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = d
}

// secrets are all that it has given out.
func (r *role) secrets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, m := range r.made {
		all = append(all, m.SecretAccessKey, m.Token)
	}
	return all
}

// TestInstanceRole runs a machine that has no key at all: it boots with a role, and
// its images are in a bucket.
func TestInstanceRole(t *testing.T) {
	lan, service, files := cloud(t)
	store, bucket, text := bucketOn(t, lan)
	role := attach(t, service, store)
	s := &site{t: t, aliceHash: hash(t)}
	files = append(files, machine.Seed(userData(s.aliceHash)+"  storage: {s3: {"+text+", iamRole: true}}\n")...)
	s.Machine = lan.Boot(1, files...)
	s.awaitApply()
	s.transport = s.Transport()
	s.mustServe("after boot")

	s.run("push and pull", func(t *testing.T, s *site) {
		r, image := s.push("team/role:1", 2)
		s.mustPull(r, image)
		if out, err := s.TryRun("redoubt", "status"); err != nil || !strings.Contains(out, units.CredentialsSocket) {
			t.Errorf("status: %v\n%s", err, out)
		}
		objects, err := store.Client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String("docker/registry/v2/blobs/")})
		if err != nil || len(objects.Contents) < 4 {
			t.Errorf("%d blobs in the bucket, %v", len(objects.Contents), err)
		}
	})
	s.run("who gets them", func(t *testing.T, s *site) { whoGetsCredentials(t, s) })
	s.run("IPv6 alone", func(t *testing.T, s *site) {
		s.Run("ip", "route", "replace", "unreachable", "169.254.169.254/32")
		defer s.Run("ip", "route", "replace", "169.254.169.254/32", "via", machine.LanAddress)
		s.Run("systemctl", "restart", units.Credentials)
		if out, err := ask(s.Machine, nil, "unix", "/run/redoubt-credentials/socket", "/credentials"); err != nil || !strings.HasPrefix(out, "200 ") {
			t.Errorf("%v %s", err, out)
		}
		if out, err := s.TryRun("redoubt", "credentials", "--check"); err != nil || !strings.Contains(out, "has a role") {
			t.Errorf("%v %s", err, out)
		}
	})
	s.run("rotation", func(t *testing.T, s *site) { rotates(t, s, role) })
	s.run("metadata away", func(t *testing.T, s *site) {
		role.live(0)
		s.Run("systemctl", "restart", units.Credentials, units.Registry)
		s.mustServe("with credentials of an hour")
		before, image := s.push("team/role:before", 1)
		service.Set(metadata.Frozen)
		defer service.Set(metadata.Good)
		s.mustPull(before, image)
		r, image := s.push("team/role:away", 2)
		s.mustPull(r, image)
	})
	s.run("no role any more", func(t *testing.T, s *site) {
		service.Attach("", nil)
		s.Run("systemctl", "restart", units.Credentials)
		out, err := ask(s.Machine, nil, "unix", "/run/redoubt-credentials/socket", "/credentials")
		if err != nil || !strings.HasPrefix(out, "404 ") || !strings.Contains(out, "attach one") {
			t.Errorf("%v %s", err, out)
		}
	})
	if n := service.Refused(); n != 0 {
		t.Errorf("%d requests without a token of IMDSv2", n)
	}
	s.run("no secret anywhere", func(t *testing.T, s *site) { noSecret(t, s, append(role.secrets(), bobPassword, httpSecret)) })
}

// whoGetsCredentials asks the helper as everybody.
func whoGetsCredentials(t *testing.T, s *site) {
	const socket = "/run/redoubt-credentials/socket"
	group := []string{"setpriv", "--reuid=1000", "--regid=redoubt-registry", "--clear-groups"}
	for name, c := range map[string]struct {
		as   []string
		want string
	}{
		"root":                     {nil, "200 "},
		"the registry":             {processes["the registry's user"], "200 "},
		"uid 1000":                 {processes["uid 1000"], "Permission denied"},
		"a DynamicUser":            {processes["a DynamicUser"], "Permission denied"},
		"root of a user namespace": {processes["root of a user namespace"], "Permission denied"},
		"another of the group":     {group, "403 "},
	} {
		out, err := ask(s.Machine, c.as, "unix", socket, "/credentials")
		if !strings.Contains(out, c.want) || strings.Contains(out, "SecretAccessKey") != (c.want == "200 ") {
			t.Errorf("%s: %v %s", name, err, out)
		}
		if c.want != "200 " {
			continue
		}
		var got struct {
			AccessKeyID string `json:"AccessKeyId"`
			Expiration  time.Time
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(out, "200 ")), &got); err != nil || got.AccessKeyID == "" || !got.Expiration.After(time.Now()) {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// rotates holds that credentials that live for seconds cost no push and no pull,
// and that nothing restarts for them.
func rotates(t *testing.T, s *site, role *role) {
	role.live(6 * time.Second)
	s.Run("systemctl", "restart", units.Credentials, units.Registry)
	s.mustServe("with credentials of seconds")
	before := s.invocations()
	made := len(role.secrets())
	type pushed struct {
		name.Reference
		v1.Image
	}
	var all []pushed
	for i, end := 0, time.Now().Add(20*time.Second); time.Now().Before(end); i++ {
		r, image := s.push(fmt.Sprintf("team/rotation:%d", i), 2)
		all = append(all, pushed{r, image})
	}
	for _, p := range all {
		s.mustPull(p.Reference, p.Image)
	}
	if n := (len(role.secrets()) - made) / 2; n < 3 {
		t.Errorf("%d credentials in three lives", n)
	}
	if after := s.invocations(); after != before {
		t.Errorf("restarted:\n%swas:\n%s", after, before)
	}
	t.Logf("%d pushes", len(all))
}
