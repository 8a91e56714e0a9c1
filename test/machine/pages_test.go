//go:build machine

package machine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
)

// A page of docs/ is run as a reader would run it: its documents are applied and
// its commands are run, each where the line at its top says, from the first to
// the last.
var fence = regexp.MustCompile("(?ms)^```(yaml|sh)\n(.*?)^```")

// shims stand for what the clients' desk does not have: a place of their own for
// podman's images.
const shims = `set -e
mkdir "$1/bin"
cat >"$1/bin/podman" <<'END'
#!/bin/sh -e
exec /usr/bin/podman --root=DIR/podman --runroot=DIR/podman-run --storage-driver=vfs --events-backend=none --cgroup-manager=cgroupfs "$@"
END
sed -i "s|DIR|$1|g" "$1"/bin/*
chmod +x "$1"/bin/*
`

// page is one that is being read.
type page struct {
	*site
	desk    *desk
	replace *strings.Replacer
	before  map[string]func() // what happens elsewhere, before a block that holds the text
}

func (s *site) page(t *testing.T) *page {
	d := newDesk(t, s)
	d.docker()
	if out, err := exec.Command("sh", "-c", shims, "sh", d.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.letIn(d.key(t), "debian")
	return &page{site: s, desk: d, replace: strings.NewReplacer(), before: map[string]func(){}}
}

// read follows a page from its beginning to its end.
func (p *page) read(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", file))
	if err != nil {
		t.Fatal(err)
	}
	p.follow(t, file, string(text))
}

// readSection follows the section of a page below a heading.
func (p *page) readSection(t *testing.T, file, heading string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", file))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	p.follow(t, file, section)
}

// follow does what a text says. What is done on the machine is done as the login user.
func (p *page) follow(t *testing.T, file, text string) {
	t.Helper()
	blocks := fence.FindAllStringSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no commands", file)
	}
	for _, b := range blocks {
		code := p.replace.Replace(b[2])
		for text, happens := range p.before {
			if strings.Contains(code, text) {
				happens()
			}
		}
		where, _, _ := strings.Cut(code, "\n")
		var out string
		var err error
		switch {
		case b[1] == "yaml":
			p.configure("page.yaml", code)
			if !strings.Contains(code, "file:") { // until its files are there; the page says when to apply
				p.mustApply()
			}
		case where == "# on the machine":
			out, err = p.desk.on("debian", code)
		case where == "# on the client":
			d := p.desk
			out, err = d.try("env", "PATH="+d.dir+"/bin:/usr/sbin:/usr/bin:/sbin:/bin", "CONTAINERD_SNAPSHOTTER=native",
				"CONTAINERD_ADDRESS="+d.dir+"/exec/containerd/containerd.sock", "CONTAINERD_NAMESPACE=test",
				"sh", "-ec", "cd "+d.dir+"/home/here\n"+code)
			if err != nil {
				out += d.daemonLog()
			}
		default:
			t.Errorf("%s: it is not said where to run:\n%s", file, code)
		}
		if err != nil {
			t.Fatalf("%s:\n%s%v\n%s", file, code, err, out)
		}
		if strings.Contains(out, "unable to resolve host") {
			t.Errorf("%s:\n%s%s", file, code, out)
		}
	}
}

func TestPageOfClientCertificates(t *testing.T) {
	s := boot(t)
	p := s.page(t)
	image := p.desk.archive(t, hostname+"/team/app:1")
	p.desk.run(t, "docker", "load", "--quiet", "--input", image)
	p.desk.run(t, "podman", "--root="+p.desk.dir+"/podman", "--runroot="+p.desk.dir+"/podman-run", "--storage-driver=vfs", "load", "--quiet", "--input", image)
	p.before["clients.crl"] = func() {
		dir := p.companyCA(t)
		for _, f := range []string{"clients.crt", "clients.crl"} {
			data, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			s.Write("/etc/redoubt/tls/"+f, string(data), 0o600)
		}
	}
	p.read(t, "client-certificates.md")
	s.mustApply() // its last document
}

func TestPageOfCompanyCA(t *testing.T) {
	s := boot(t)
	p := s.page(t)
	work := p.desk.dir + "/home/here"
	ca := p.companyCA(t)
	p.replace = strings.NewReplacer("subjectAltName=DNS:registry.example.com", "subjectAltName=DNS:registry.example.com,IP:"+machine.Address)
	p.before["scp tls.crt"] = func() {
		host(t, `cd "$1"; openssl x509 -req -in tls.csr -CA "$2/clients.crt" -CAkey "$2/ca.key" -CAcreateserial -days 30 -copy_extensions copy -out tls.crt`, work, ca)
	}
	p.before["ca.key"] = func() {
		if got := s.issuer(t); got != "Company" {
			t.Errorf("with the files, the certificate is of %s", got)
		}
		for from, to := range map[string]string{"clients.crt": "ca.crt", "ca.key": "ca.key"} {
			data, err := os.ReadFile(filepath.Join(ca, from))
			if err != nil {
				t.Fatal(err)
			}
			s.Write("/etc/redoubt/tls/"+to, string(data), 0o600)
		}
	}
	p.read(t, "company-ca.md")
	if got := s.issuer(t); got != "Company" {
		t.Errorf("with the CA, the certificate is of %s", got)
	}
}

// pageHash is of a password that nobody knows.
const pageHash = "$2y$10$46fuOnZ0yhU7zoCppGvza.nofj4NOpWKMNvUtY5E2ICLu9wRj7g9S"

func TestPageOfAddress(t *testing.T) {
	s := boot(t)
	p := s.page(t)
	p.replace = strings.NewReplacer("203.0.113.10", machine.Address, pageHash, s.aliceHash)
	s.configure("aliases.yaml", "aliases: []\n") // one of them is the address
	p.desk.run(t, "docker", "load", "--quiet", "--input", p.desk.archive(t, machine.Address+"/team/app:1"))
	if err := os.WriteFile(p.desk.dir+"/home/here/password", []byte(alicePassword), 0o600); err != nil {
		t.Fatal(err)
	}
	p.read(t, "ip-address.md")
}

// companyCA makes another CA with a revocation list: clients.crt, ca.key and
// clients.crl in a directory.
func (p *page) companyCA(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	host(t, `cd "$1"; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out clients.crt -days 300 \
			-subj /CN=Company -addext keyUsage=critical,keyCertSign,cRLSign
		touch index; echo 01 >number
		printf '[ca]\ndefault_ca=x\n[x]\ndatabase=%s/index\ncrlnumber=%s/number\ndefault_md=sha256\ndefault_crl_days=30\n' "$1" "$1" >c.cnf
		openssl ca -gencrl -config c.cnf -cert clients.crt -keyfile ca.key -out clients.crl`, dir)
	return dir
}

// host runs a script on the host.
func host(t *testing.T, script string, args ...string) {
	t.Helper()
	if out, err := exec.Command("sh", append([]string{"-ec", script, "sh"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// issuer is who issued the certificate that the registry shows.
func (s *site) issuer(t *testing.T) string {
	t.Helper()
	return s.shown(t).Issuer.CommonName
}
