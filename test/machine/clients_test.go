//go:build machine

package machine_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/units"
)

// required is a configuration whose clients all need a certificate.
const required = `
tls: {clientAuth: {mode: required}}
auth: {clientCertificates: [{match: "CN=ci-*", user: ci}]}
`

// refused is what clients print when the registry does not take their
// certificate: the alert of TLS, if they still read it before the connection is
// gone, or the registry's own words.
var refused = regexp.MustCompile(`certificate required|bad certificate|certificate is revoked|connection reset by peer|broken pipe`)

// issue makes a client's certificate on the machine and brings it to the desk.
func issue(t *testing.T, s *site, d *desk, client string) (certs string) {
	t.Helper()
	s.Run("redoubt", "ca", "client", client, "--days", "30", "--out", "/root/"+client)
	certs = filepath.Join(d.dir, client)
	if err := os.CopyFS(certs, os.DirFS(s.Path("/root/"+client))); err != nil {
		t.Fatal(err)
	}
	return certs
}

// TestRealClients uses a registry that requires client certificates as docker,
// podman, skopeo and containerd do, with no other login; and cuts them off.
func TestRealClients(t *testing.T) {
	s := boot(t)
	s.configure("clients.yaml", required)
	s.mustApply()
	d := newDesk(t, s)
	d.docker()
	certs := issue(t, s, d, "ci-1")
	image := d.archive(t, hostname+"/team/app:1")
	ref := hostname + "/team/app:1"
	podman := func(args ...string) []string {
		return append([]string{"podman", "--root=" + d.dir + "/podman", "--runroot=" + d.dir + "/podman-run",
			"--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs"}, args...)
	}
	ctr := func(args ...string) []string {
		return append([]string{"ctr", "--address", d.dir + "/exec/containerd/containerd.sock", "--namespace", "test", "images"}, args...)
	}
	d.run(t, "docker", "load", "--quiet", "--input", image)
	d.run(t, podman("load", "--quiet", "--input", image)...)
	d.run(t, ctr("import", "--no-unpack", image)...)
	clients := map[string][][]string{
		"docker":     {{"docker", "push", "--quiet", ref}, {"docker", "image", "rm", ref}, {"docker", "pull", "--quiet", ref}},
		"podman":     {podman("push", "--quiet", ref), podman("image", "rm", ref), podman("pull", "--quiet", ref)},
		"skopeo":     {{"skopeo", "inspect", "docker://" + ref}},
		"containerd": {ctr("push", "--hosts-dir", certs, ref), ctr("rm", "--sync", ref), ctr("pull", "--snapshotter", "native", "--hosts-dir", certs, ref)},
	}
	// Docker and podman look for their certificates in /etc; so far there is but
	// the CA, and containerd is shown a directory with no more than that.
	bare := filepath.Join(d.dir, "bare")
	d.run(t, "sh", "-ec", `h="$2"; for o in /etc/docker /etc/containers; do mkdir -p $o/certs.d/$h; cp "$1/$h/ca.crt" $o/certs.d/$h/; done
		mkdir -p "$3/$h"; cp "$1/$h/ca.crt" "$3/$h/"; grep -v client "$1/$h/hosts.toml" >"$3/$h/hosts.toml"`, "sh", certs, hostname, bare)
	for client, steps := range clients {
		first := strings.Split(strings.ReplaceAll(strings.Join(steps[0], "\x00"), certs, bare), "\x00")
		if out, err := d.try(first...); err == nil || !refused.MatchString(out) {
			t.Errorf("%s without a certificate: %v\n%s", client, err, out)
		}
	}
	d.run(t, "sh", "-ec", `for o in /etc/docker /etc/containers; do cp -r "$1/$2" $o/certs.d/; done`, "sh", certs, hostname)
	for _, client := range []string{"docker", "podman", "skopeo", "containerd"} {
		for _, step := range clients[client] {
			if out, err := d.try(step...); err != nil {
				t.Fatalf("%s: %v\n%s\n%s", strings.Join(step, " "), err, out, d.daemonLog())
			}
		}
	}
	s.Eventually("the access log names the client's user", func() bool {
		return strings.Contains(s.Run("journalctl", "--no-pager", "--output=cat", "--namespace=access"), `"user":"ci"`)
	})
	s.run("what watches keeps watching", watched)

	s.Run("redoubt", "ca", "revoke", "ci-1")
	revoked := time.Now()
	for client, steps := range clients {
		last := steps[len(steps)-1]
		for {
			out, err := d.try(last...)
			if err != nil {
				if refused.MatchString(out) {
					break
				}
				t.Fatalf("%s: %v\n%s", client, err, out)
			}
			if time.Since(revoked) > time.Minute {
				t.Fatalf("%s still gets in after its revocation", client)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if out := s.Run("redoubt", "ca", "list"); !strings.Contains(out, "ci-1") || !strings.Contains(out, "revoked") {
		t.Errorf("ca list:\n%s", out)
	}
}

// watched holds that the machine's own looks at its registry still get in.
func watched(t *testing.T, s *site) {
	if out := s.Run("redoubt", "status"); !strings.HasPrefix(out, "ok") {
		t.Errorf("status:\n%s", out)
	}
	s.mustApply()
	before := s.Property(units.Registry, "NRestarts")
	time.Sleep(45 * time.Second) // more than four of the watchdog's periods
	if after := s.Property(units.Registry, "NRestarts"); after != before || s.Property(units.Registry, "ActiveState") != "active" {
		t.Errorf("the watchdog has replaced the registry: %s restarts, then %s", before, after)
	}
}

// archive is a small image as docker save writes it.
func (d *desk) archive(t *testing.T, ref string) string {
	t.Helper()
	image, err := random.Image(1<<16, 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file.Architecture, file.OS = runtime.GOARCH, "linux" // containerd wants its own
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.dir, "image.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCertificateFiles changes the files of tls.files on a running machine: a
// good pair is taken up by itself, a bad one is an alert.
func TestCertificateFiles(t *testing.T) {
	s := boot(t)
	first := s.certificateFiles(t, "first")
	s.configure("tls.yaml", `
tls: {mode: files, files: {certificate: "file:/etc/redoubt/tls/tls.crt", privateKey: "file:/etc/redoubt/tls/tls.key"}}
`)
	s.mustApply()
	if got := s.serial(t); got != first {
		t.Fatalf("serves %s, want %s", got, first)
	}
	restarts := s.invocations()
	second := s.certificateFiles(t, "second")
	s.Eventually("the new pair is served", func() bool { return s.serial(t) == second })
	s.Eventually("the watch is on again", func() bool { return s.Property(units.CertificateFiles, "SubState") == "waiting" })
	s.Run("sh", "-ec", "echo broken >/etc/redoubt/tls/tls.crt")
	s.Eventually("the bad pair is an alert", func() bool {
		return strings.Contains(s.Run("journalctl", "--no-pager", "--output=cat", "MESSAGE_ID=9f4c2d6b1e7a4f0c8b53a6d1c07e24f9"), "/etc/redoubt/tls/tls.crt")
	})
	if !strings.Contains(s.Console(), "Redoubt on "+hostname) {
		t.Error("the alert is not on the console")
	}
	if got := s.serial(t); got != second {
		t.Errorf("serves %s after a bad pair, want %s", got, second)
	}
	if got := s.invocations(); got != restarts {
		t.Errorf("something was restarted:\n%s\nthen\n%s", restarts, got)
	}
}

// certificateFiles makes a pair on the machine and returns its serial number.
func (s *site) certificateFiles(t *testing.T, cn string) string {
	t.Helper()
	dir := t.TempDir()
	script := `cd "$1"; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout tls.key -out tls.crt -days 30 \
		-subj "/CN=$2" -addext "subjectAltName=DNS:$3,IP:$4" 2>/dev/null; openssl x509 -in tls.crt -noout -serial`
	out, err := exec.Command("sh", "-ec", script, "sh", dir, cn, hostname, machine.Address).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"tls.key", "tls.crt"} {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		s.Write("/etc/redoubt/tls/"+f, string(data), 0o600)
	}
	// openssl fills up the last byte.
	return strings.TrimLeft(strings.TrimPrefix(strings.TrimSpace(string(out)), "serial="), "0")
}

// serial is the serial number of the certificate that the registry shows.
func (s *site) serial(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%X", s.shown(t).SerialNumber)
}

// shown is the certificate that the registry shows.
func (s *site) shown(t *testing.T) *x509.Certificate {
	t.Helper()
	transport := s.transport.Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // it is compared
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodGet, at("/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	w.Body.Close()
	return w.TLS.PeerCertificates[0]
}
