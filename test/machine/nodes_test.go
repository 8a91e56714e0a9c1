//go:build machine

package machine_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/pebble"
	"github.com/redoubt-registry/redoubt/test/stores"
	"github.com/redoubt-registry/redoubt/units"
)

// cluster is three machines on one bucket, with a CA that finds all of them under
// one name.
type cluster struct {
	t      *testing.T
	lan    *machine.Lan
	store  *stores.Store
	bucket string
	ca     *pebble.CA
	sites  []*site
}

const storePort = "9000"

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, lan: machine.NewLan(t), store: stores.MinIO(t)}
	c.bucket = c.store.NewBucket(t)
	service := strings.TrimPrefix(c.store.Endpoint, "http://")
	c.lan.Forward(net.JoinHostPort(machine.LanAddress, storePort), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", service)
	})
	c.ca = pebble.Start(t, pebble.Options{HTTPPort: 80, Fresh: true, Network: c.lan.PID(), Dial: c.lan.Dial, Seen: machine.LanAddress})
	directory, err := url.Parse(c.ca.Directory)
	if err != nil {
		t.Fatal(err)
	}
	c.lan.Forward(directory.Host, func(ctx context.Context) (net.Conn, error) {
		return c.lan.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", directory.Port()))
	})
	data := c.userData()
	c.sites = make([]*site, 3)
	start := func(i int) {
		s := &site{t: t, Machine: c.lan.Boot(i+1, machine.Seed(data)...)}
		s.transport = c.transport(i)
		s.awaitApply()
		c.sites[i] = s
	}
	// The others find a certificate. While all of them boot, the CA may ask one that
	// is not up yet, and the next try is in minutes.
	c.ca.Resolve(hostname, c.addresses()[0])
	start(0)
	first := c.sites[0]
	first.Eventually("the first machine has a certificate", func() bool { return strings.Contains(issuer(first.shows()), "Pebble") })
	c.ca.Resolve(hostname, c.addresses()...)
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { start(i + 1) })
	}
	all.Wait()
	for i, s := range c.sites {
		if s == nil {
			t.Fatalf("machine %d did not boot", i+1)
		}
	}
	return c
}

// userData is the same on all machines.
func (c *cluster) userData() string {
	var roots strings.Builder
	for line := range strings.Lines(c.ca.Roots) {
		roots.WriteString("        " + line)
	}
	return fmt.Sprintf(`#cloud-config
redoubt:
  hostname: %s
  nodes: 3
  httpSecret: %s
  tls:
    mode: acme
    acme:
      directory: %s
      caBundle: |
%s  auth:
    users: [{name: alice, passwordHash: "%s"}]
  storage:
    s3:
      bucket: %s
      region: %s
      endpoint: http://%s:%s
      accessKey: %s
      secretKey: %s
      redirect: false
  cache: {type: none}
`, hostname, httpSecret, c.ca.Directory, roots.String(), hash(c.t), c.bucket, c.store.Region, machine.LanAddress, storePort,
		c.store.AccessKey, c.store.SecretKey)
}

func (c *cluster) addresses() []string {
	return []string{c.lan.Address(1), c.lan.Address(2), c.lan.Address(3)}
}

// run runs a subtest with the same cluster.
func (c *cluster) run(name string, test func(t *testing.T, c *cluster)) {
	c.t.Run(name, func(t *testing.T) {
		sub := *c
		sub.t, sub.sites = t, nil
		for _, s := range c.sites {
			copied := *s
			copied.t, copied.Machine = t, s.For(t)
			sub.sites = append(sub.sites, &copied)
		}
		test(t, &sub)
	})
}

// dialPatience is how long a client waits for a machine before it tries the next
// address of the name.
const dialPatience = 3 * time.Second

// transport is a client's, which takes the name's addresses from one on, in turn,
// until one answers.
func (c *cluster) transport(first int) *http.Transport {
	addresses := c.addresses()
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.ca.Issuers(), MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			for i := range addresses {
				var conn net.Conn
				one, cancel := context.WithTimeout(ctx, dialPatience)
				conn, err = c.lan.Dial(one, network, net.JoinHostPort(addresses[(first+i)%len(addresses)], port))
				cancel()
				if err == nil {
					return conn, nil
				}
			}
			return nil, err
		},
	}
	c.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// memory is what the bucket knows of the certificate.
func (c *cluster) memory() (state struct {
	Number int
	Chain  string
}) {
	c.t.Helper()
	data := c.object()
	if err := json.Unmarshal(data, &state); err != nil {
		c.t.Fatal(err)
	}
	return state
}

const stateObject = "redoubt/state/state.json"

func (c *cluster) object() []byte {
	c.t.Helper()
	out, err := c.store.Client().GetObject(c.t.Context(), &s3.GetObjectInput{Bucket: &c.bucket, Key: aws.String(stateObject)})
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

func (c *cluster) putObject(data []byte) {
	c.t.Helper()
	if _, err := c.store.Client().PutObject(c.t.Context(), &s3.PutObjectInput{Bucket: &c.bucket, Key: aws.String(stateObject), Body: bytes.NewReader(data)}); err != nil {
		c.t.Fatal(err)
	}
}

// orders is how many the CA has had.
func (c *cluster) orders() int {
	return strings.Count(c.ca.Log(), "POST /order-plz -> calling handler()")
}

// agree waits until all machines show one certificate of the CA's, and returns its
// serial number.
func (c *cluster) agree(not string) string {
	c.t.Helper()
	var serial string
	c.sites[0].Eventually("one certificate of the CA's on all machines", func() bool {
		serial = ""
		for _, s := range c.sites {
			shown := s.shows()
			number := shown.SerialNumber.String()
			if !strings.Contains(issuer(shown), "Pebble") || number == not || serial != "" && serial != number {
				return false
			}
			serial = number
		}
		return true
	})
	return serial
}

func (c *cluster) each(f func(s *site)) {
	for _, s := range c.sites {
		f(s)
	}
}

// renewed runs a renewal, after one that may be under way.
func (s *site) renewed() {
	s.t.Helper()
	if out, err := s.start(units.Renew); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// start starts a unit. On a host that is too busy, systemctl has been seen to give
// up on its connection to systemd, which starts the unit all the same.
func (s *site) start(unit string) (out string, err error) {
	for range 3 {
		out, err = s.TryRun("systemctl", "start", unit)
		if err == nil || !strings.Contains(out, "Transport endpoint is not connected") {
			return out, err
		}
		s.t.Logf("once more: %s", out)
	}
	return out, err
}

// TestThreeMachines holds what several machines promise together: one certificate
// and one order, pushes to any, pulls from any, and nothing lost that was
// acknowledged, whichever of them goes.
func TestThreeMachines(t *testing.T) {
	c := newCluster(t)
	c.run("one certificate, one order", func(t *testing.T, c *cluster) {
		c.agree("") // nobody starts a renewal by hand
		if n := c.orders(); n != 1 || c.memory().Number != 1 {
			t.Errorf("%d orders for %d certificates", n, c.memory().Number)
		}
		c.each(func(s *site) {
			if got := s.Run("stat", "-c", "%a %U:%G", "/var/lib/redoubt/acme/state.json"); got != "600 root:root" {
				t.Errorf("the copy is %s", got)
			}
		})
	})
	c.run("any machine answers the CA", func(t *testing.T, c *cluster) {
		serial := c.agree("")
		for i, s := range c.sites {
			other := (i + 1) % 3
			c.ca.Resolve(hostname, c.addresses()[other])
			before := c.memory().Number
			s.Run("redoubt", "renew", "--force")
			if n := c.memory().Number; n != before+1 {
				t.Errorf("machine %d asked, machine %d answered: %d certificates", i+1, other+1, n-before)
			}
			c.each((*site).renewed)
			serial = c.agree(serial)
		}
		c.ca.Resolve(hostname, c.addresses()...)
		if n, m := c.orders(), c.memory().Number; n != m {
			t.Errorf("%d orders for %d certificates", n, m)
		}
	})
	c.run("push to any, pull from any", pushAnywhere)
	c.run("an upload continues at another", uploadAnywhere)
	c.run("real clients", realClientsAnywhere)
	c.run("the bucket is down", func(t *testing.T, c *cluster) {
		serial, orders := c.agree(""), c.orders()
		c.store.Kill()
		var all sync.WaitGroup
		c.each(func(s *site) {
			all.Go(func() {
				out, err := s.TryRun("redoubt", "renew", "--force")
				if err == nil || !strings.Contains(out, "cannot read the state of the certificate") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		})
		all.Wait()
		if c.agree("") != serial {
			t.Error("another certificate serves")
		}
		c.store.Start()
		c.each((*site).renewed)
		if c.agree("") != serial || c.orders() != orders {
			t.Errorf("%d orders more", c.orders()-orders)
		}
	})
	c.run("damaged state in the bucket", func(t *testing.T, c *cluster) {
		serial, orders := c.agree(""), c.orders()
		damaged := c.object()[:100]
		c.putObject(damaged)
		c.each(func(s *site) {
			out, err := s.TryRun("redoubt", "renew")
			if err == nil || !strings.Contains(out, "s3://"+c.bucket+"/"+stateObject) || !strings.Contains(out, "It is left as it is") {
				t.Errorf("%v\n%s", err, out)
			}
			if out, err := s.start(units.Renew); err == nil {
				t.Errorf("the unit succeeds: %s", out)
			}
			s.Eventually("the alert", func() bool {
				out, _ := s.TryRun("journalctl", "--no-pager", "-u", "redoubt-alert@*") // there may be none yet
				return strings.Contains(out, "the state of the certificate is damaged")
			})
		})
		if !bytes.Equal(c.object(), damaged) {
			t.Error("the object was overwritten")
		}
		c.putObject([]byte(c.sites[1].Run("cat", "/var/lib/redoubt/acme/state.json")))
		c.each((*site).renewed)
		if c.agree("") != serial || c.orders() != orders {
			t.Errorf("%d orders more", c.orders()-orders)
		}
	})
	c.run("one is cut off", func(t *testing.T, c *cluster) {
		c.amid(func() { c.lan.Cut(2) }, 1, 0, 2)
		c.lan.Join(2)
		back := c.sites[1] // which has found its storage to be away
		back.Eventually("it serves again", func() bool {
			answer, err := machine.Do(back.transport, request("/v2/"))
			return err == nil && answer.Status == http.StatusOK
		})
	})
	c.run("one is killed", func(t *testing.T, c *cluster) {
		c.amid(c.sites[2].Kill, 2, 0, 1)
	})
}

func pushAnywhere(t *testing.T, c *cluster) {
	for i, s := range c.sites {
		ref, image := s.push(fmt.Sprintf("team/app%d:v1", i), 2)
		for _, other := range c.sites {
			other.mustPull(ref, image)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Delete(ref.Context().Digest(digest.String()), c.sites[(i+1)%3].options()...); err != nil {
			t.Errorf("delete: %v", err)
		}
		for j, other := range c.sites {
			if _, err := remote.Head(ref.Context().Digest(digest.String()), other.options()...); err == nil {
				t.Errorf("machine %d has what was deleted at another", j+1)
			}
		}
	}
}

func uploadAnywhere(t *testing.T, c *cluster) {
	data := bytes.Repeat([]byte("layer"), 2_000_000)
	send := func(s *site, method, location string, body []byte, want int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, location, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("alice", alicePassword)
		req.Header.Set("Content-Type", "application/octet-stream")
		answer, err := machine.Do(s.transport, req)
		if err != nil || answer.Status != want {
			t.Fatalf("%s: %v %+v", method, err, answer)
		}
		if method == http.MethodPut {
			return ""
		}
		return absolute(answer.Header.Get("Location"))
	}
	location := send(c.sites[0], http.MethodPost, at("/v2/team/up/blobs/uploads/"), nil, http.StatusAccepted)
	location = send(c.sites[1], http.MethodPatch, location, data[:6_000_000], http.StatusAccepted)
	location = send(c.sites[2], http.MethodPatch, location, data[6_000_000:7_000_000], http.StatusAccepted)
	send(c.sites[0], http.MethodPut, location+"&digest="+url.QueryEscape(sum(data)), data[7_000_000:], http.StatusCreated)
	for _, s := range c.sites {
		answer, err := machine.Do(s.transport, request("/v2/team/up/blobs/"+sum(data)))
		if err != nil || answer.Body != string(data) {
			t.Errorf("%v %d, %d bytes", err, answer.Status, len(answer.Body))
		}
	}
}

// realClientsAnywhere pushes with one client to one machine and pulls with another
// from the next. With the first address cut off, they take the next by themselves.
func realClientsAnywhere(t *testing.T, c *cluster) {
	image := func(d *desk) string { return "oci:" + d.dir + "/image:v1" }
	certs := func(d *desk) {
		d.run(t, "sh", "-ec", `mkdir -p "/etc/containers/certs.d/$1" && printf '%s' "$2" >"/etc/containers/certs.d/$1/ca.crt"`,
			"sh", hostname, string(c.ca.Issuer()))
	}
	login := "--creds=alice:" + alicePassword
	source := layout(t)
	for i, address := range c.addresses() {
		d := newDeskIn(t, c.lan.PID(), address)
		certs(d)
		ref := fmt.Sprintf("docker://%s/team/real%d:v1", hostname, i)
		d.run(t, "skopeo", "copy", "--quiet", "--dest"+login[1:], "oci:"+source+":v1", ref)
		next := newDeskIn(t, c.lan.PID(), c.addresses()[(i+1)%3])
		certs(next)
		next.run(t, "skopeo", "copy", "--quiet", "--src"+login[1:], ref, image(next))
		next.run(t, "podman", "pull", "--quiet", login, "--root="+next.dir+"/podman", "--runroot="+next.dir+"/run", "--storage-driver=vfs",
			strings.TrimPrefix(ref, "docker://"))
	}
	c.lan.Cut(1)
	defer c.lan.Join(1)
	d := newDeskIn(t, c.lan.PID(), c.addresses()...)
	certs(d)
	ref := fmt.Sprintf("docker://%s/team/real:v1", hostname)
	d.run(t, "skopeo", "copy", "--quiet", "--dest"+login[1:], "oci:"+source+":v1", ref)
}

// layout is a directory with an image that clients can take.
func layout(t *testing.T) string {
	t.Helper()
	image, err := random.Image(3<<20, 2)
	if err != nil {
		t.Fatal(err)
	}
	image = mutate.ConfigMediaType(mutate.MediaType(image, types.OCIManifestSchema1), types.OCIConfigJSON)
	dir := t.TempDir()
	l, err := ocilayout.Write(dir, empty.Index)
	if err == nil {
		err = l.AppendImage(image, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// pusher is a client that pushes one image after the other, each until it is
// acknowledged.
type pusher struct {
	c      *cluster
	first  int // the address that it takes first
	mu     sync.Mutex
	pushed map[string]v1.Image // what was acknowledged
	failed int                 // tries
	at     int                 // the address that it is pushing to; -1: none
}

const pushPatience = 40 * time.Second

func (p *pusher) count() (pushed, failed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pushed), p.failed
}

func (p *pusher) pushing(at int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = at
}

// push pushes images until the context ends; the one at hand is not cut off.
func (p *pusher) push(ctx context.Context, number int) error {
	for n := 0; ctx.Err() == nil; n++ {
		image, err := random.Image(4<<20, 3)
		if err != nil {
			return err
		}
		ref := fmt.Sprintf("%s/team/client%d-%d:v%d", hostname, number, p.first, n)
		const tries = 8
		for try := range tries {
			p.pushing(p.first % 3)
			err = p.try(ref, image)
			p.pushing(-1)
			if err == nil {
				break
			}
			p.mu.Lock()
			p.failed++
			p.mu.Unlock()
			p.first++ // the next address
			if try == tries-1 {
				return fmt.Errorf("%s: %d tries failed, the last one: %w", ref, tries, err)
			}
		}
		p.mu.Lock()
		p.pushed[ref] = image
		p.mu.Unlock()
	}
	return nil
}

// try is one push, over connections of its own.
func (p *pusher) try(ref string, image v1.Image) error {
	r, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), pushPatience)
	defer cancel()
	tr := p.c.transport(p.first)
	defer tr.CloseIdleConnections()
	return remote.Write(r, image, remote.WithContext(ctx), remote.WithTransport(tr),
		remote.WithAuth(&authn.Basic{Username: "alice", Password: alicePassword}),
		remote.WithRetryPredicate(func(error) bool { return false }), remote.WithRetryStatusCodes())
}

// amid lets six clients push to all machines, does something to one of them in the
// middle of its pushes, and looks afterwards that what was acknowledged is whole on
// the rest.
func (c *cluster) amid(do func(), victim int, rest ...int) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	var pushers []*pusher
	for i := range 6 {
		p := &pusher{c: c, first: i % 3, at: -1, pushed: map[string]v1.Image{}}
		pushers = append(pushers, p)
		all.Go(func() {
			if err := p.push(ctx, i); err != nil {
				c.t.Errorf("client %d: %v", i, err)
			}
		})
	}
	more := func(than []int) []int {
		var counts []int
		for i, p := range pushers {
			for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
				n, _ := p.count()
				if n > than[i] {
					counts = append(counts, n)
					break
				}
				if time.Now().After(deadline) {
					c.t.Fatalf("client %d pushes nothing any more", i)
				}
			}
		}
		return counts
	}
	more(make([]int, len(pushers)))
	c.sites[rest[0]].Eventually("two pushes to the machine", func() bool {
		busy := 0
		for _, p := range pushers {
			p.mu.Lock()
			if p.at == victim {
				busy++
			}
			p.mu.Unlock()
		}
		return busy >= 2
	})
	half := c.half(victim)
	do()
	// A push that was about to end may still do so; the one after it cannot.
	counts := make([]int, len(pushers))
	for i, p := range pushers {
		counts[i], _ = p.count()
	}
	more(more(counts))
	cancel()
	all.Wait()
	pushed, failed := 0, 0
	for _, p := range pushers {
		n, f := p.count()
		pushed, failed = pushed+n, failed+f
		for ref, image := range p.pushed {
			r, err := name.ParseReference(ref)
			if err != nil {
				c.t.Fatal(err)
			}
			for _, i := range rest {
				c.sites[i].mustPull(r, image)
			}
		}
	}
	c.t.Logf("%d images acknowledged, %d pushes had to be tried again", pushed, failed)
	select {
	case err := <-half:
		if err == nil {
			c.t.Error("half an upload was taken for a whole one")
		}
	default:
		if failed == 0 {
			c.t.Error("no push was cut: this shows nothing")
		}
	}
}

// half sends the first half of a blob to a machine, and answers what becomes of it: the
// other pushes may all be between two requests when something is done to the machine.
func (c *cluster) half(at int) <-chan error {
	c.t.Helper()
	ask := func(method, location string, body io.Reader) (machine.Answer, error) {
		req, err := http.NewRequestWithContext(c.t.Context(), method, location, body)
		if err != nil {
			return machine.Answer{}, err
		}
		req.SetBasicAuth("alice", alicePassword)
		req.Header.Set("Content-Type", "application/octet-stream")
		return machine.Do(c.sites[at].transport, req)
	}
	opened, err := ask(http.MethodPost, absolute("/v2/team/half/blobs/uploads/"), nil)
	if err != nil || opened.Status != http.StatusAccepted {
		c.t.Fatalf("POST: %v %+v", err, opened)
	}
	r, w := io.Pipe()
	c.t.Cleanup(func() { w.Close() })
	done := make(chan error, 1)
	go func() {
		answer, err := ask(http.MethodPatch, absolute(opened.Header.Get("Location")), r)
		if err == nil && answer.Status != http.StatusAccepted {
			err = fmt.Errorf("status %d", answer.Status)
		}
		done <- err
	}()
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		c.t.Fatalf("PATCH: %v", err)
	}
	return done
}
