package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// TestMain is also the registry's own process, when a test starts it as one.
func TestMain(m *testing.M) {
	dir := os.Getenv("REDOUBT_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("LISTEN_FDS") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := Serve(ctx, Options{
		Config:       filepath.Join(dir, "registry.yml"),
		Maintenance:  filepath.Join(dir, "maintenance.json"),
		Certificates: filepath.Join(dir, "certificates/current"),
		Challenges:   filepath.Join(dir, "challenges"),
		Storage:      filepath.Join(dir, "storage.json"),

		AuditInbox:         filepath.Join(dir, "inbox"),
		Deliveries:         filepath.Join(dir, "deliveries.json"),
		DeliveriesPatience: time.Second,

		StorageRecord: filepath.Join(dir, "record.json"),
		Grace:         graceOf(os.Getenv("REDOUBT_TEST_GRACE")),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "redoubt:", err)
		os.Exit(1)
	}
}

// graceOf is the grace that a process of a test believes in: "none", or the usual one.
func graceOf(text string) time.Duration {
	if text == "none" {
		return -1
	}
	return 0
}

const password = "correct horse"

// machine is a registry's files, its sockets as systemd would hold them, and
// the process that serves them.
type machine struct {
	dir           string
	tls, http     *net.TCPListener
	debug         string
	notifications *net.UnixConn
	ca            *cert.CA
	roots         []byte // PEM, of other CAs
	redis         string // socket of a Redis; empty: none
	memory        bool   // cache in memory
	bucket        string // what storage is, in YAML; empty: a directory
	extra         string // more lines of registry.yml under http:
	tlsMore       string // more of http.tls
	authMore      string // more of auth.redoubt
	headers       string // more of http.headers
	log           lockedBuffer
	process       *exec.Cmd
	exited        chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newMachine makes the files and sockets; nothing runs yet.
func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{dir: t.TempDir(), debug: freeAddr(t)}
	m.tls, m.http = listen(t), listen(t)
	check(t, os.Mkdir(m.path("store"), 0o755))
	m.users(t, "alice")
	ca, err := cert.MakeAuthority(m.path("ca"), 1, []string{"localhost", "127.0.0.1"}, time.Now(), rand.Reader)
	check(t, err)
	m.ca = ca
	m.certificate(t, 1000*time.Hour)
	address := &net.UnixAddr{Name: m.path("notify"), Net: "unixgram"}
	m.notifications, err = net.ListenUnixgram("unixgram", address)
	check(t, err)
	t.Cleanup(func() { m.notifications.Close() })
	return m
}

func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// freeAddr is a loopback address that no one else takes: a port that was free
// a moment ago would not do.
func freeAddr(t testing.TB) string {
	t.Helper()
	b := make([]byte, 3)
	_, err := rand.Read(b)
	check(t, err)
	return fmt.Sprintf("127.%d.%d.%d:5001", b[0], b[1], 1+b[2]%254)
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }

func (m *machine) host() string { return m.tls.Addr().String() }

func (m *machine) users(t testing.TB, names ...string) {
	t.Helper()
	var lines []string
	for _, n := range names {
		h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		check(t, err)
		lines = append(lines, n+":"+string(h))
	}
	m.write(t, "htpasswd", strings.Join(lines, "\n"))
}

func (m *machine) write(t testing.TB, name, text string) {
	t.Helper()
	check(t, os.WriteFile(m.path(name+".new"), []byte(text), 0o600))
	check(t, os.Rename(m.path(name+".new"), m.path(name)))
}

func (m *machine) certificate(t testing.TB, validity time.Duration) {
	t.Helper()
	pair, err := m.ca.IssuePair([]string{"localhost", "127.0.0.1"}, time.Now(), validity, rand.Reader)
	check(t, err)
	check(t, cert.Publish(m.path("certificates"), -1, pair))
}

// config renders registry.yml. The log level is a knob to make files differ.
func (m *machine) config(t testing.TB, level string) {
	t.Helper()
	var cache, redis string
	if m.redis != "" {
		cache = "  cache: {blobdescriptor: redis}\n"
		redis = fmt.Sprintf("redis: {addrs: [%q]}\n", m.redis)
	}
	if m.memory {
		cache = "  cache: {blobdescriptor: inmemory}\n"
	}
	storage := fmt.Sprintf("filesystem: {rootdirectory: %q}", m.path("store"))
	if m.bucket != "" {
		storage = m.bucket
	}
	m.write(t, "registry.yml", fmt.Sprintf(`version: 0.1
log: {level: %s, formatter: json, fields: {service: test}}
storage:
  %s
  delete: {enabled: true}
%sauth: {redoubt: {realm: Redoubt, path: %q%s}}
http:
  addr: %q
  host: https://%s
  secret: a-secret
  draintimeout: 20s
  headers: {X-Content-Type-Options: [nosniff]%s}
  debug: {addr: %q, prometheus: {enabled: true, path: /metrics}}
  tls: {certificate: %q, key: %q%s}
%s%shealth: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
`, level, storage, cache, m.path("htpasswd"), m.authMore, m.host(), m.host(), m.headers, m.debug,
		m.path("certificates/current/tls.crt"), m.path("certificates/current/tls.key"), m.tlsMore, m.extra, redis))
}

// start runs the registry in a process of its own on the held sockets, and
// waits for READY=1.
func (m *machine) start(t testing.TB, env ...string) {
	t.Helper()
	m.spawn(t, env...)
	m.await(t, "READY=1")
}

func (m *machine) spawn(t testing.TB, env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "REDOUBT_TEST_DIR="+m.dir, "NOTIFY_SOCKET="+m.path("notify"), "LISTEN_FDS=2")
	cmd.Env = append(cmd.Env, env...)
	for _, l := range []*net.TCPListener{m.tls, m.http} {
		f, err := l.File()
		check(t, err)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	cmd.Stderr, cmd.Stdout = &m.log, &m.log
	check(t, cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	m.process, m.exited = cmd, exited
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log of the registry:\n%s", tail(m.log.String(), 4000))
		}
	})
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (m *machine) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	check(t, m.process.Process.Signal(s))
}

// await reads notifications until one has want as a line, and returns it.
func (m *machine) await(t testing.TB, want string) string {
	t.Helper()
	buffer := make([]byte, 8192)
	check(t, m.notifications.SetReadDeadline(time.Now().Add(30*time.Second)))
	for {
		n, err := m.notifications.Read(buffer)
		if err != nil {
			t.Fatalf("waited in vain for %s: %v\n%s", want, err, tail(m.log.String(), 4000))
		}
		for line := range strings.SplitSeq(string(buffer[:n]), "\n") {
			if line == want {
				return string(buffer[:n])
			}
		}
	}
}

// reload sends SIGHUP and waits for the end of the reload. It returns what
// systemd was told then.
func (m *machine) reload(t testing.TB) string {
	t.Helper()
	m.signal(t, syscall.SIGHUP)
	if begin := m.await(t, "RELOADING=1"); !strings.Contains(begin, "MONOTONIC_USEC=") {
		t.Fatalf("RELOADING=1 without MONOTONIC_USEC: %q", begin)
	}
	return m.await(t, "READY=1")
}

// transport trusts the machine's authority.
func (m *machine) transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(m.ca.Certificate)
	roots.AppendCertsFromPEM(m.roots)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8}
}

func (m *machine) options(user, pass string) []remote.Option {
	return []remote.Option{
		remote.WithTransport(m.transport()),
		remote.WithAuth(&authn.Basic{Username: user, Password: pass}),
		// A registry that drops nothing needs no second try.
		remote.WithRetryPredicate(func(error) bool { return false }),
		remote.WithRetryStatusCodes(),
	}
}

func (m *machine) push(image v1.Image, repo string) error {
	ref, err := name.ParseReference(m.host() + "/" + repo)
	if err != nil {
		return err
	}
	return remote.Write(ref, image, m.options("alice", password)...)
}

func (m *machine) pull(repo string) (v1.Image, error) {
	ref, err := name.ParseReference(m.host() + "/" + repo)
	if err != nil {
		return nil, err
	}
	return remote.Image(ref, m.options("alice", password)...)
}

// pullConfig pulls an image and its configuration, a blob.
func (m *machine) pullConfig(repo string) error {
	image, err := m.pull(repo)
	if err == nil {
		_, err = image.RawConfigFile()
	}
	return err
}

// answer is a response that was read to its end.
type answer struct {
	*http.Response
	body string
}

// do makes one request as alice, on a new connection.
func (m *machine) do(method, url string, body io.Reader, header ...string) (answer, error) {
	transport := m.transport()
	defer transport.CloseIdleConnections()
	a, err := send(transport, method, url, body, header...)
	if err != nil {
		return a, err
	}
	if at, err := a.Location(); err == nil { // it may have no host
		a.Header.Set("Location", at.String())
	}
	return a, nil
}

// patience is how long an answer is waited for: a test that gets none ends, and prints the
// log of its registry.
const patience = 3 * time.Minute

func send(transport http.RoundTripper, method, url string, body io.Reader, header ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	r.SetBasicAuth("alice", password)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := transport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return answer{w, string(text)}, err
}

func (m *machine) get(t testing.TB, path string, header ...string) answer {
	t.Helper()
	a, err := m.do(http.MethodGet, "https://"+m.host()+path, nil, header...)
	check(t, err)
	return a
}

// metric reads one sample from the debug address.
func (m *machine) metric(t testing.TB, name string) float64 {
	t.Helper()
	w, err := http.Get("http://" + m.debug + "/metrics")
	check(t, err)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	check(t, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			check(t, err)
			return f
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// upload is a layer on its way: its body is open until finish.
type upload struct {
	m        *machine
	location string
	pipe     *io.PipeWriter
	done     chan error
}

// begin starts an upload and sends the first half of data.
func (m *machine) begin(t testing.TB, repo string, half []byte) *upload {
	t.Helper()
	a, err := m.do(http.MethodPost, "https://"+m.host()+"/v2/"+repo+"/blobs/uploads/", nil)
	check(t, err)
	if a.StatusCode != http.StatusAccepted {
		t.Fatalf("POST: %s %s", a.Status, a.body)
	}
	r, w := io.Pipe()
	u := &upload{m: m, pipe: w, done: make(chan error, 1)}
	go func() {
		a, err := m.do(http.MethodPatch, a.Header.Get("Location"), r)
		if err == nil && a.StatusCode != http.StatusAccepted {
			err = errors.New("PATCH: " + a.Status + a.body)
		}
		if err == nil {
			u.location = a.Header.Get("Location")
		}
		u.done <- err
	}()
	_, err = w.Write(half)
	check(t, err)
	until(t, "the upload to be in flight", func() bool { return m.metric(t, "redoubt_http_in_flight") > 0 })
	return u
}

// finish sends the rest and closes the upload.
func (u *upload) finish(t testing.TB, rest []byte, digest string) {
	t.Helper()
	_, err := u.pipe.Write(rest)
	check(t, err)
	u.pipe.Close()
	check(t, <-u.done)
	target := u.location + "&digest=" + digest
	a, err := u.m.do(http.MethodPut, target, nil)
	check(t, err)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", a.Status, a.body)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
