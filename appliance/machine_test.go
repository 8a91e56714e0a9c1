//go:build integration

package appliance_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
	"github.com/redoubt-registry/redoubt/units"
)

// TestMain runs the tests again in a network of their own, where the ports 443
// and 80 are free. That needs root, as writing files for other users does.
func TestMain(m *testing.M) {
	const inside = "REDOUBT_TEST_NETWORK"
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "tests in a network namespace (which needs root):", err)
			os.Exit(1)
		}
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot bring the loopback interface up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// registry stands for systemd and the registry: it records what it is asked,
// and answers on port 443 as the files in root say, with the certificate there.
type registry struct {
	begun   func() // called when a unit is begun
	t       *testing.T
	root    string
	mu      sync.Mutex
	calls   []string
	runs    map[string]bool
	server  *http.Server
	status  string       // what the registry says of its last reload
	read    string       // what registry.yml was when it was last read
	failed  bool         // the apply at boot has failed
	noCache bool         // Redis does not start, nor restart
	noData  bool         // the data partition is not mounted
	slow    atomic.Int64 // nanoseconds that the registry takes to answer
	crash   bool         // panic instead of acting, as a power cut does
	sick    string       // what of registry.yml it cannot serve with
}

func (r *registry) Run(_ context.Context, reload bool, actions []tree.Reader) error {
	if r.crash {
		panic("crash")
	}
	if reload {
		r.calls = append(r.calls, "daemon-reload")
	}
	for _, a := range actions {
		if r.noCache && a.Unit == units.Redis {
			return &systemd.JobError{Verb: a.Verb.String(), Unit: a.Unit, Job: "failed"}
		}
		r.calls = append(r.calls, a.Verb.String()+" "+a.Unit)
		r.load(a.Unit)
	}
	return nil
}

func (r *registry) Start(_ context.Context, names ...string) error {
	for _, n := range names {
		if r.noCache && n == units.Redis {
			return &systemd.JobError{Verb: "start", Unit: n, Job: "timeout"}
		}
		r.calls = append(r.calls, "start "+n)
		r.load(n)
	}
	return nil
}

func (r *registry) Begin(_ context.Context, unit string) error {
	r.calls = append(r.calls, "begin "+unit)
	if r.begun != nil {
		r.begun()
	}
	return nil
}

func (r *registry) ResetFailed(_ context.Context, names ...string) error {
	r.calls = append(r.calls, "reset-failed "+strings.Join(names, " "))
	r.failed = false
	return nil
}

func (r *registry) States(_ context.Context, names ...string) ([]systemd.State, error) {
	var states []systemd.State
	for _, n := range names {
		active := "inactive"
		if n == units.Apply && r.failed {
			active = "failed"
		}
		if r.runs[n] || n == "var-lib-redoubt.mount" && !r.noData {
			active = "active"
		}
		state := systemd.State{Name: n, Load: "loaded", Active: active}
		if n == units.Registry {
			state.Status = r.status
		}
		states = append(states, state)
	}
	return states, nil
}

// load makes a unit read what is rendered, as the real ones do when they start
// and reload. Redis has the condition that its configuration exists. The word
// "silent" in the registry's is a registry that answers nothing.
func (r *registry) load(unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[unit] = true
	switch unit {
	case units.Redis:
		_, err := os.Stat(filepath.Join(r.root, "run/redoubt/redis.conf"))
		r.runs[unit] = err == nil
	case units.Registry:
		data, _ := os.ReadFile(filepath.Join(r.root, "run/redoubt/registry.yml"))
		if strings.Contains(string(data), "refuse") && r.server != nil {
			r.status = units.ReloadRefused + "no such thing"
			return
		}
		r.read, r.status = string(data), "serving"
		if _, err := os.Stat(filepath.Join(r.root, "run/redoubt/maintenance.json")); err == nil {
			r.read = "maintenance"
		}
		r.runs[units.RegistrySocket] = true
		if r.server == nil {
			r.listen()
		}
	}
}

func (r *registry) listen() {
	config := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		dir := filepath.Join(r.root, "var/lib/redoubt/certificates/current")
		if pair, err := cert.OpenKeyPair(dir+"/tls.crt", dir+"/tls.key", time.Now); err == nil {
			return pair.GetCertificate(h)
		}
		certPEM, key, err := cert.SelfSigned([]string{"localhost"}, time.Now(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return cert.ParsePair(certPEM, key)
	}}
	l, err := tls.Listen("tcp", "0.0.0.0:443", config)
	if err != nil {
		r.t.Errorf("cannot listen: %v", err)
		return
	}
	r.server = &http.Server{Handler: r}
	go func() { _ = r.server.Serve(l) }()
}

func (r *registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(time.Duration(r.slow.Load()))
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.Contains(r.read, "silent"):
		panic(http.ErrAbortHandler) // closes the connection
	case r.read == "maintenance":
		w.WriteHeader(http.StatusServiceUnavailable)
	case strings.Contains(r.read, "sick"), r.sick != "" && strings.Contains(r.read, r.sick):
		w.WriteHeader(http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// stop ends the registry, as a reboot does.
func (r *registry) stop() {
	if r.server != nil {
		_ = r.server.Close()
		r.server = nil
	}
	r.runs = atBoot()
}

// atBoot is what systemd has started before the apply.
func atBoot() map[string]bool {
	return map[string]bool{units.Firewall: true, units.RenewTimer: true, units.HealthTimer: true, units.GCTimer: true, units.BackupTimer: true}
}

// box is a machine in a directory.
type box struct {
	*testing.T
	root     string
	registry *registry
	out      bytes.Buffer
	vault    vault
	ready    []string // calls that the service manager had when the files were in place
}

// settle is how long a file must be unchanged here.
const settle = 100 * time.Millisecond

// vault seals as the machine's does, for tests. Another system has another key.
type vault struct{ key byte }

func (v *vault) Seal(data []byte) ([]byte, error) {
	return append([]byte{v.key}, base64.StdEncoding.EncodeToString(data)...), nil
}

func (v *vault) Open(sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != v.key {
		return nil, errors.New("another key")
	}
	return base64.StdEncoding.DecodeString(string(sealed[1:]))
}

// lastGood is the document that the box keeps.
func (b *box) lastGood() string {
	b.Helper()
	data, err := b.vault.Open([]byte(b.get("var/lib/redoubt/config/last-good.sealed")))
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{T: t, root: t.TempDir()}
	b.registry = &registry{t: t, root: b.root, runs: atBoot()}
	t.Cleanup(b.registry.stop)
	b.put("etc/passwd", "root:x:0:0::/:/bin/sh\nredoubt-registry:x:850:850::/:/bin/false\n")
	b.put("etc/group", "root:x:0:\nredoubt-registry:x:850:\n")
	b.put("etc/hostname", "box\n")
	return b
}

func (b *box) put(path, data string) {
	b.Helper()
	path = filepath.Join(b.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		b.Fatal(err)
	}
}

const userDataPath = "var/lib/cloud/instance/user-data.txt"

func (b *box) userData(data string) { b.put(userDataPath, "#cloud-config\n"+data) }

// images is the directory of the images, which is the registry's.
func (b *box) images() string {
	b.Helper()
	path := filepath.Join(b.root, "var/lib/redoubt/registry")
	if err := os.MkdirAll(path, 0o750); err != nil {
		b.Fatal(err)
	}
	if err := os.Chown(path, 850, 850); err != nil {
		b.Fatal(err)
	}
	return path
}

func (b *box) get(path string) string {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(b.root, path))
	if err != nil {
		b.Fatal(err)
	}
	return string(data)
}

func (b *box) exists(path string) bool {
	_, err := os.Lstat(filepath.Join(b.root, path))
	return err == nil
}

func (b *box) machine() *appliance.Machine {
	return &appliance.Machine{
		Root:        b.root,
		Units:       b.registry,
		Source:      userdata.Source{Root: b.root},
		Credentials: filepath.Join(b.root, "run/credentials"),
		Vault:       &b.vault,
		Now:         time.Now,
		Out:         &b.out,
		Warnings:    &b.out,
		Ready: func() error {
			if !b.exists("run/redoubt/registry.yml") && !b.exists("run/redoubt/maintenance.json") {
				b.Error("ready before the files are in place")
			}
			b.ready = append(b.ready, strings.Join(b.registry.calls, ", "))
			return nil
		},
		Patience: time.Second,
		Settle:   settle,
	}
}

// apply runs one apply and returns its error; what it printed and asked for is
// in out and in the registry's calls.
func (b *box) apply() error {
	b.out.Reset()
	b.registry.calls = nil
	return b.machine().Apply(b.Context(), appliance.Options{})
}

func (b *box) mustApply() {
	b.Helper()
	if err := b.apply(); err != nil {
		b.Fatalf("apply: %v\n%s", err, &b.out)
	}
}

// reboot loses what a reboot loses.
func (b *box) reboot() {
	b.Helper()
	b.registry.stop()
	if err := os.RemoveAll(filepath.Join(b.root, "run")); err != nil {
		b.Fatal(err)
	}
}

func (b *box) wantCalls(want string) {
	b.Helper()
	if got := strings.Join(b.registry.calls, ", "); got != want {
		b.Errorf("units: got %q, want %q", got, want)
	}
}

func (b *box) wantError(err error, parts ...string) {
	b.Helper()
	if err == nil {
		b.Fatalf("no error\n%s", &b.out)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			b.Errorf("error lacks %q:\n%v", p, err)
		}
	}
}

// snapshot is every path below the root with its kind, mode, size and time.
func (b *box) snapshot() string {
	b.Helper()
	var s strings.Builder
	err := filepath.WalkDir(b.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&s, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return s.String()
}

const good = `redoubt:
  hostname: registry.example.com
  auth: {users: [{name: alice, password: hunter2hunter2}]}
`

func TestFirstApplyThenNothing(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.wantCalls("start redoubt-redis.service, start redoubt-registry.service")
	if len(b.ready) != 1 || b.ready[0] != "" {
		t.Errorf("ready: %q; it must be once, and before any unit acts", b.ready)
	}
	for path, mode := range map[string]fs.FileMode{
		"run/redoubt/registry.yml":                     0o640,
		"run/redoubt/htpasswd":                         0o640,
		"run/redoubt/redis.conf":                       0o644,
		"run/redoubt/applied.json":                     0o600,
		"var/lib/redoubt/secrets":                      fs.ModeDir | 0o700,
		"var/lib/redoubt/secrets/http-secret":          0o600,
		"var/lib/redoubt/secrets/password-hashes.json": 0o600,
		"var/lib/redoubt/config/last-good.sealed":      0o600,
		"var/lib/redoubt/generations/1/config.sealed":  0o600,
		"var/lib/redoubt/ca/ca.key":                    0o600,
		"var/lib/redoubt/ca/ca.crt":                    0o644,
	} {
		info, err := os.Lstat(filepath.Join(b.root, path))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, want mode %v (%v)", path, info, mode, err)
		}
	}
	if !strings.HasSuffix(b.out.String(), "https://registry.example.com serves, generation 1\n") {
		t.Errorf("out:\n%s", &b.out)
	}
	if strings.Contains(b.out.String(), "hunter2") {
		t.Errorf("a password in the output:\n%s", &b.out)
	}

	before := b.snapshot()
	b.mustApply()
	b.wantCalls("")
	if after := b.snapshot(); after != before {
		t.Errorf("the second apply wrote something; before:\n%s\nafter:\n%s", before, after)
	}
	if out := b.out.String(); !strings.Contains(out, "nothing to do\nits CA has the SHA-256 ") ||
		!strings.HasSuffix(out, "\nhttps://registry.example.com still serves, generation 1\n") {
		t.Errorf("out:\n%s", &b.out)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.userData(good + "  log: {level: debug}\n")
	before := b.snapshot()
	b.out.Reset()
	b.registry.calls = nil
	if err := b.machine().Apply(t.Context(), appliance.Options{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	b.wantCalls("")
	if after := b.snapshot(); after != before {
		t.Errorf("a dry run wrote something; before:\n%s\nafter:\n%s", before, after)
	}
	want := "change   /run/redoubt/registry.yml (0640 root:redoubt-registry)\nreload   redoubt-registry.service\n"
	if !strings.HasSuffix(b.out.String(), want) {
		t.Errorf("out:\n%s", &b.out)
	}
}

func TestChanges(t *testing.T) {
	for _, test := range []struct{ name, add, calls, back string }{
		{"one key", "  log: {level: debug}\n", "reload redoubt-registry.service",
			"reload redoubt-registry.service"},
		{"a header", "  listen: {headers: []}\n", "reload redoubt-registry.service",
			"reload redoubt-registry.service"},
		{"no redis", "  cache: {type: memory}\n", "reload redoubt-registry.service, restart redoubt-redis.service",
			"reload redoubt-registry.service, start redoubt-redis.service"},
		{"a name: the certificate is new, and no file", "  aliases: [other.example.com]\n", "reload redoubt-registry.service",
			"reload redoubt-registry.service"},
		{"the other port", "  listen: {httpPort: 8080}\n", "daemon-reload, restart redoubt-registry.socket",
			"daemon-reload, restart redoubt-registry.socket"},
		{"storage", "  storage: {filesystem: {root: /mnt/images}}\n", "daemon-reload, restart redoubt-registry.service",
			"daemon-reload, restart redoubt-registry.service"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBox(t)
			b.userData(good)
			b.mustApply()
			b.userData(good + test.add)
			b.mustApply()
			b.wantCalls(test.calls)
			if !strings.Contains(b.out.String(), "generation 2\n") {
				t.Errorf("out:\n%s", &b.out)
			}
			b.mustApply()
			b.wantCalls("")
			b.userData(good) // and all the way back
			b.mustApply()
			b.wantCalls(test.back)
		})
	}
}

func TestAPasswordIsOnlyHashedWhenItChanges(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	first := b.get("run/redoubt/htpasswd")
	b.reboot()
	b.mustApply()
	if again := b.get("run/redoubt/htpasswd"); again != first {
		t.Errorf("another hash after a reboot: %s, %s", first, again)
	}
	b.userData(strings.Replace(good, "hunter2hunter2", "correct horse", 1))
	b.mustApply()
	if again := b.get("run/redoubt/htpasswd"); again == first {
		t.Error("the same hash for another password")
	}
	b.wantCalls("reload redoubt-registry.service") // users count together with the rules
}

func TestInvalidAtFirstBootThenMended(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostnme: registry.example.com\n  auth: {users: [{name: a, passwordHash: hunter2}]}\n")
	err := b.apply()
	b.wantError(err, "no images are served", "user-data:3:3: hostnme: unknown key (did you mean \"hostname\"?)", "user-data:4:")
	b.wantCalls("start redoubt-registry.service")
	for _, path := range []string{"run/redoubt/maintenance.json", "run/issue.d/50-redoubt.issue", "run/motd.d/50-redoubt"} {
		if text := b.get(path); !strings.Contains(text, "unknown key") || strings.Contains(text, "hunter2") {
			t.Errorf("%s:\n%s", path, text)
		}
	}
	if strings.Contains(err.Error()+b.out.String(), "hunter2") {
		t.Errorf("a secret in what is said: %v\n%s", err, &b.out)
	}
	before := b.snapshot()
	b.wantError(b.apply(), "unknown key")
	b.wantCalls("")
	if after := b.snapshot(); after != before {
		t.Errorf("the second apply wrote something; before:\n%s\nafter:\n%s", before, after)
	}

	b.registry.failed = true
	b.userData(good)
	b.mustApply()
	b.wantCalls("reload redoubt-registry.service, start redoubt-redis.service, reset-failed redoubt-apply.service")
	for _, path := range []string{"run/redoubt/maintenance.json", "run/issue.d/50-redoubt.issue", "run/motd.d/50-redoubt"} {
		if b.exists(path) {
			t.Errorf("%s is still there", path)
		}
	}
}

// TestOperatorsFileWins wants a complete document of the operator to end the maintenance
// that user-data with a mistake began, by hand and at each boot after that.
func TestOperatorsFileWins(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostnme: registry.example.com\n  gc: {schedule: daily}\n  nodes: many\n")
	b.wantError(b.apply(), "no images are served", "hostnme: unknown key")
	b.put("etc/redoubt/config.yaml", strings.ReplaceAll(good, "registry.example", "own.example"))
	b.out.Reset()
	b.mustApply()
	for _, want := range []string{"hostnme: warning: unknown key", "nodes: warning: ", "only this is used, and nothing of user-data"} {
		if !strings.Contains(b.out.String(), want) {
			t.Errorf("out has no %q:\n%s", want, &b.out)
		}
	}
	b.reboot()
	b.mustApply()
	if y := b.get("run/redoubt/registry.yml"); !strings.Contains(y, "own.example.com") || b.exists("run/redoubt/maintenance.json") {
		t.Errorf("registry.yml:\n%s", y)
	}
}

// TestOperatorsFileWinsOverWhatIsFoundLate wants the same where the mistake is in what
// the user-data names, and in its overlay.
func TestOperatorsFileWinsOverWhatIsFoundLate(t *testing.T) {
	for _, wrong := range []string{"  httpSecret: file:/etc/redoubt/none\n", "  registry: {tags: {maxtags: -1}}\n", "  tls: {mode: files, files: {certificate: 'file:/etc/a', privateKey: 'file:/etc/b'}}\n"} {
		b := newBox(t)
		b.userData(good + wrong)
		b.wantError(b.apply(), "no images are served")
		b.put("etc/redoubt/config.yaml", strings.ReplaceAll(good, "registry.example", "own.example"))
		b.mustApply()
		if !strings.Contains(b.out.String(), "only this is used, and nothing of user-data") {
			t.Errorf("out:\n%s", &b.out)
		}
		b.registry.stop()
	}
}

// TestBrokenLaterKeepsWhatItHadSet wants the last good configuration to go on when a
// mistake comes into user-data whose values are in force beside the operator's.
func TestBrokenLaterKeepsWhatItHadSet(t *testing.T) {
	b := newBox(t)
	b.userData(good + "  log: {level: warn}\n")
	b.put("etc/redoubt/config.yaml", "hostname: own.example.com\n")
	b.mustApply()
	b.userData(good + "  log: {levle: warn}\n")
	b.reboot()
	b.wantError(b.apply(), "the last good configuration serves, since the user-data cannot be used any more")
	if y := b.get("run/redoubt/registry.yml"); !strings.Contains(y, "level: warn") || !strings.Contains(y, "own.example.com") {
		t.Errorf("registry.yml:\n%s", y)
	}
	b.put("etc/redoubt/config.yaml", "hostname: other.example.com\n") // now it is meant
	b.mustApply()
	if y := b.get("run/redoubt/registry.yml"); strings.Contains(y, "level: warn") || !strings.Contains(y, "other.example.com") {
		t.Errorf("registry.yml:\n%s", y)
	}
}

func TestNoUserDataAtAll(t *testing.T) {
	b := newBox(t)
	b.wantError(b.apply(), `user-data: no "redoubt:" key`)
	if !strings.Contains(b.get("run/issue.d/50-redoubt.issue"), "Redoubt on box serves no images") {
		t.Errorf("issue:\n%s", b.get("run/issue.d/50-redoubt.issue"))
	}
}

func TestInvalidLaterKeepsTheLastGood(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	rendered := b.get("run/redoubt/registry.yml")
	b.userData("redoubt:\n  hostname: \n")
	b.wantError(b.apply(), "the last good configuration serves", "hostname: required")
	b.wantCalls("")

	b.reboot()
	b.wantError(b.apply(), "the last good configuration serves")
	b.wantCalls("start redoubt-redis.service, start redoubt-registry.service")
	if again := b.get("run/redoubt/registry.yml"); again != rendered {
		t.Errorf("after a reboot:\n%s\nwant:\n%s", again, rendered)
	}
}

// What another system has sealed is as good as none, and that is said.
func TestWhatWasSealedElsewhere(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.reboot()
	b.vault.key++
	b.userData("redoubt:\n  hostname: \n")
	b.wantError(b.apply(), "no images are served", "hostname: required")
	if !strings.Contains(b.out.String(), "warning: cannot use /var/lib/redoubt/config/last-good.sealed, so that it is as if there were none") {
		t.Errorf("out:\n%s", &b.out)
	}
	b.userData(good)
	b.mustApply()
	if !strings.Contains(b.lastGood(), "registry.example.com") {
		t.Error("it was not sealed again")
	}
}

func TestMetadataGone(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.reboot()
	if err := os.RemoveAll(filepath.Join(b.root, "var/lib/cloud")); err != nil {
		t.Fatal(err)
	}
	b.put("run/cloud-init/cloud-id", "none\n")
	b.put("etc/redoubt/config.d/10.yaml", "log: {level: debug}\n")
	b.wantError(b.apply(), "cloud-init found no metadata")
	if y := b.get("run/redoubt/registry.yml"); !strings.Contains(y, "https://registry.example.com") || !strings.Contains(y, "level: debug") {
		t.Errorf("registry.yml:\n%s", y)
	}
}

// sick and silent stand for any configuration that is valid and does not work.
const (
	sick   = good + "  log: {fields: [{name: a, value: sick}]}\n"
	silent = good + "  log: {fields: [{name: a, value: silent}]}\n"
)

func TestUnhealthyComesBack(t *testing.T) {
	for name, bad := range map[string]string{"sick": sick, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.userData(good)
			b.mustApply()
			rendered := b.get("run/redoubt/registry.yml")
			b.userData(bad)
			b.wantError(b.apply(), "the registry", "back to the previous configuration")
			b.wantCalls("reload redoubt-registry.service, reload redoubt-registry.service")
			if again := b.get("run/redoubt/registry.yml"); again != rendered {
				t.Errorf("rolled back to:\n%s", again)
			}
			if strings.Contains(b.lastGood(), name) || b.exists("var/lib/redoubt/generations/2") {
				t.Error("an unhealthy configuration was kept as good")
			}

			b.reboot()
			b.wantError(b.apply(), "back to the last good configuration")
			if again := b.get("run/redoubt/registry.yml"); again != rendered {
				t.Errorf("after a reboot, rolled back to:\n%s", again)
			}
		})
	}
}

// What a file: secret held before is nowhere but in what was rendered with it.
func TestASecretThatDoesNotWorkComesBack(t *testing.T) {
	b := newBox(t)
	b.userData(good + "  httpSecret: file:/etc/redoubt/secret\n")
	b.put("etc/redoubt/secret", "0123456789abcdef\n")
	b.mustApply()
	rendered := b.get("run/redoubt/registry.yml")
	b.put("etc/redoubt/secret", "0123456789-sick\n")
	err := b.apply()
	b.wantError(err, "not healthy", "fell back to the previous configuration")
	if again := b.get("run/redoubt/registry.yml"); again != rendered {
		t.Errorf("rolled back to:\n%s", again)
	}
}

func TestARefusedReloadComesBack(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.userData(good + "  log: {fields: [{name: a, value: refuse}]}\n")
	b.wantError(b.apply(), "the registry refuses its configuration: no such thing", "back to the previous configuration")
	if b.registry.status != "serving" {
		t.Errorf("the registry says: %s", b.registry.status)
	}
}

func TestFirstConfigurationUnhealthy(t *testing.T) {
	b := newBox(t)
	b.userData(silent)
	b.wantError(b.apply(), "does not answer", "back to a notice of what is wrong")
	if !strings.Contains(b.get("run/motd.d/50-redoubt"), "does not answer") || b.exists("run/redoubt/registry.yml") {
		t.Errorf("notice:\n%s", b.get("run/motd.d/50-redoubt"))
	}
	b.userData(sick) // which answers: it may heal by itself
	b.wantError(b.apply(), "500", "the registry keeps trying")
	if !b.exists("run/redoubt/registry.yml") || b.exists("run/redoubt/maintenance.json") {
		t.Error("a registry that answers was replaced by a notice")
	}
}

func TestCrashBeforeTheActions(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.userData(good + "  cache: {type: memory}\n  storage: {filesystem: {root: /mnt/images}}\n")
	b.registry.crash = true
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no crash")
			}
		}()
		_ = b.apply()
	}()
	b.registry.crash = false
	b.userData(good + "  cache: {type: memory}\n") // and then another configuration
	b.mustApply()
	b.wantCalls("daemon-reload, restart redoubt-registry.service, restart redoubt-redis.service")
	if b.exists("run/systemd/system/redoubt-registry.service.d") {
		t.Error("the drop-in of the crashed apply is still there")
	}
}

func TestOnlyOneApply(t *testing.T) {
	b := newBox(t)
	b.put("run/redoubt/apply.lock", "")
	f, err := os.Open(filepath.Join(b.root, "run/redoubt/apply.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	b.wantError(b.apply(), "another redoubt apply is running")
	// One that ends soon, such as the renewal after an apply, is waited for.
	b.userData(good)
	go func() {
		time.Sleep(200 * time.Millisecond)
		_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	}()
	b.mustApply()
}

func TestTheOperatorsFilesShadowTheUserData(t *testing.T) {
	b := newBox(t)
	b.userData(good + "  log: {level: warn}\n")
	b.put("etc/redoubt/config.yaml", "log: {level: debug}\n")
	b.mustApply()
	want := "/etc/redoubt/config.yaml:1:14: log.level: warning: this is used, and not what user-data:5 says\n"
	if !strings.Contains(b.out.String(), want) {
		t.Errorf("out:\n%s", &b.out)
	}
}

func TestASecretThatIsNotThereIsNamedAtItsLine(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n  httpSecret: file:/etc/redoubt/secret\n")
	b.wantError(b.apply(), "user-data:4:15: httpSecret: cannot read /etc/redoubt/secret: no such file or directory")
	b.put("etc/redoubt/secret", "0123456789abcdef\n")
	b.mustApply()
	if !strings.Contains(b.get("run/redoubt/registry.yml"), "secret: 0123456789abcdef\n") {
		t.Errorf("registry.yml:\n%s", b.get("run/redoubt/registry.yml"))
	}
	if strings.Contains(b.out.String(), "0123456789abcdef") {
		t.Errorf("out:\n%s", &b.out)
	}
}

func TestASecretThatGoesAwayLeavesWhatServes(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n  httpSecret: file:/etc/redoubt/secret\n")
	b.put("etc/redoubt/secret", "0123456789abcdef\n")
	b.mustApply()
	before := b.get("run/redoubt/registry.yml")
	if err := os.Remove(filepath.Join(b.root, "etc/redoubt/secret")); err != nil {
		t.Fatal(err)
	}
	b.wantError(b.apply(), "nothing was changed", "cannot read /etc/redoubt/secret")
	b.wantCalls("")
	if b.get("run/redoubt/registry.yml") != before || b.exists("run/redoubt/maintenance.json") {
		t.Error("a machine that serves was taken out of service")
	}
}

func TestAFullDiskKeepsWhatServes(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	rendered := b.get("run/redoubt/registry.yml")
	small := filepath.Join(b.root, "run/systemd")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "nr_inodes=1"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(small, 0)
	b.userData(good + "  listen: {httpPort: 8080}\n  log: {level: debug}\n")
	b.wantError(b.apply(), "cannot write /run/systemd/system/redoubt-registry.socket.d", "no space left on device")
	if again := b.get("run/redoubt/registry.yml"); again != rendered {
		t.Errorf("half of it was written:\n%s", again)
	}
}

var errBus = errors.New("no bus")

type brokenUnits struct{ *registry }

func (brokenUnits) States(context.Context, ...string) ([]systemd.State, error) { return nil, errBus }

func TestRedisThatDoesNotStartTakesNothingAway(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.registry.noCache = true
	if err := b.machine().Apply(t.Context(), appliance.Options{}); err != nil {
		t.Fatal(err)
	}
	if !b.exists("run/redoubt/registry.yml") || b.exists("run/redoubt/maintenance.json") {
		t.Error("the machine does not serve")
	}
	if !strings.Contains(b.out.String(), "warning: the registry serves without its cache") {
		t.Errorf("out:\n%s", &b.out)
	}
}

func TestWithoutTheDataPartitionNothingIsWrittenOnIt(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.registry.noData = true
	err := b.machine().Apply(t.Context(), appliance.Options{})
	if err == nil || !strings.Contains(err.Error(), "var-lib-redoubt.mount") {
		t.Errorf("got %v", err)
	}
	if b.exists("var/lib/redoubt") || b.exists("run/redoubt/registry.yml") || !b.exists("run/redoubt/maintenance.json") {
		t.Error("the machine is not in maintenance, or wrote where the partition belongs")
	}
	b.registry.noData = false
	if err := b.machine().Apply(t.Context(), appliance.Options{}); err != nil {
		t.Fatal(err)
	}
	if !b.exists("run/redoubt/registry.yml") || b.exists("run/redoubt/maintenance.json") {
		t.Error("the machine does not serve once the partition is there")
	}
}

func TestWithoutSystemdNothingIsWritten(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	m := b.machine()
	m.Units = brokenUnits{b.registry}
	if err := m.Apply(t.Context(), appliance.Options{}); !errors.Is(err, errBus) {
		t.Errorf("got %v", err)
	}
	if b.exists("run/redoubt/registry.yml") || b.exists("var/lib/redoubt") {
		t.Error("something was written")
	}
}

func TestStatus(t *testing.T) {
	b := newBox(t)
	images := b.images()
	b.put("usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nIMAGE_VERSION=1.2.3\n")
	b.userData(good + "  cache: {type: memory}\n")
	b.mustApply()
	r, err := b.machine().Status(t.Context(), "9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != status.OK || r.Address != "https://registry.example.com" || r.Configuration.Generation != 1 ||
		strings.Join(r.Configuration.Sources, " ") != "user-data" || r.Versions.Redoubt != "9.9.9" ||
		r.Versions.Image != "1.2.3 Debian GNU/Linux 13 (trixie)" ||
		len(r.Certificate.Names) != 1 || r.Certificate.DaysLeft != 89 || len(r.Certificate.Fingerprint) != 64 || !r.Storage.Writable {
		t.Errorf("got:\n%s", r)
	}

	b.userData(good) // with a Redis that is not there
	b.mustApply()
	if err := os.Chown(images, 0, 0); err != nil {
		t.Fatal(err)
	}
	r, err = b.machine().Status(t.Context(), "9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != status.Degraded || r.Cache.Reachable || r.Storage.Writable || len(r.Problems) != 2 {
		t.Errorf("got:\n%s", r)
	}

	b.registry.stop()
	b = newBox(t)
	b.userData("redoubt:\n  hostnme: registry.example.com\n")
	b.wantError(b.apply(), "unknown key")
	r, err = b.machine().Status(t.Context(), "9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != status.Maintenance || !strings.Contains(r.String(), "  - user-data:3:3: hostnme: unknown key") {
		t.Errorf("got:\n%s", r)
	}
}

// The renewal that an apply begins goes by the configuration that was kept: it may
// run before the apply has ended.
func TestRenewalIsBegunLast(t *testing.T) {
	b := newBox(t)
	b.userData("redoubt:\n  hostname: registry.example.com\n  tls: {mode: acme, acme: {directory: \"https://127.0.0.1:1/dir\"}}\n" +
		"  auth: {users: [{name: alice, password: hunter2hunter2}]}\n")
	begun := false
	b.registry.begun = func() {
		begun = true
		if document, err := history.LastGood(b.root, &b.vault); err != nil || !bytes.Contains(document, []byte("acme")) {
			t.Errorf("the renewal is begun before the configuration is kept: %v", err)
		}
	}
	b.mustApply()
	if !begun {
		t.Error("no renewal was begun")
	}
}

// What a person has stopped starts again, and that is in the plan.
func TestTimersStartAgain(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.registry.runs[units.HealthTimer], b.registry.runs[units.RenewTimer] = false, false
	b.mustApply()
	b.wantCalls("start redoubt-health.timer, start redoubt-renew.timer")
	if !strings.Contains(b.out.String(), "start    redoubt-health.timer\n") {
		t.Errorf("the plan:\n%s", &b.out)
	}
	b.mustApply()
	b.wantCalls("")
}

// The plan and what came of it are for stdout; warnings are not.
func TestWarningsApart(t *testing.T) {
	b := newBox(t)
	b.userData("#cloud-config\nredoubt: {hostname: registry.example.com}\n")
	var warnings bytes.Buffer
	m := b.machine()
	m.Warnings = &warnings
	if err := m.Apply(t.Context(), appliance.Options{}); err != nil {
		t.Fatal(err)
	}
	if want := "user-data:3:10: auth.users: warning: no users: nobody can log in\n"; warnings.String() != want {
		t.Errorf("warnings: %q", &warnings)
	}
	if strings.Contains(b.out.String(), "warning") {
		t.Errorf("stdout:\n%s", &b.out)
	}
}

// TestJudgedAlike holds that a boot, render and validate refuse the same documents for
// the same reasons.
func TestJudgedAlike(t *testing.T) {
	b := newBox(t)
	const head = "#cloud-config\nredoubt:\n  hostname: a.example.com\n"
	for _, document := range []string{
		head + "  storage: {s3: {bucket: images, region: eu-central-1, accessKey: 'API Key: EXOsecretvalue', secretKey: s}}\n",
		head + "  registry: {tags: {maxtags: -1}}\n",
		head + "  environment: [{name: REGISTRY_TAGS_MAXTAGS, value: '-1'}]\n",
		head + "  auth: {users: [{name: a, passwordHash: secretvalue}]}\n",
		head + "  tls: {mode: files, files: {certificate: a, privateKey: b}}\n",
		head + "  nods: 1\n",
	} {
		b.userData(strings.TrimPrefix(document, "#cloud-config\n"))
		b.put("user-data", b.get("var/lib/cloud/instance/user-data.txt"))
		file := filepath.Join(b.root, "user-data")
		want := strings.ReplaceAll(strings.TrimSpace(appliance.Validate("/", file, "", time.Now()).Errors().String()), file, "user-data")
		if want == "" {
			t.Errorf("valid:\n%s", document)
		}
		want = strings.TrimPrefix(want, "user-data: ") // what has no line
		rendered := appliance.Render(filepath.Join(b.root, "out"), []string{file}, "", &b.out, &b.out)
		if rendered == nil || !strings.Contains(strings.ReplaceAll(rendered.Error(), file, "user-data"), want) {
			t.Errorf("render: %v\nvalidate: %s", rendered, want)
		}
		if err := b.apply(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("apply: %v\nvalidate: %s", err, want)
		}
	}
}

// A registry that answers late answers: nothing falls back, and nothing is down.
func TestASlowRegistryIsNoFault(t *testing.T) {
	b := newBox(t)
	b.registry.slow.Store(int64(2500 * time.Millisecond)) // the machine's patience is a second
	b.userData(good)
	b.mustApply()
	b.registry.slow.Store(int64(6 * time.Second))
	r, err := b.machine().Status(t.Context(), "9.9.9")
	if err != nil || !r.Registry.Healthy {
		t.Errorf("%v\n%s", err, r)
	}
}
