// Package slapd runs Debian's OpenLDAP server for tests, on loopback addresses of its own,
// with a few people and groups.
package slapd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/test/program"
)

// people are alice in dev, which is in staff, which is in all and, in a circle, in dev; bob
// in nothing; two called twin.
const people = `dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=search,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: search
userPassword: find them

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: uid=alice,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
employeeType: staff
userPassword: correct horse

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
employeeType: guest
userPassword: battery staple

dn: cn=one,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twin
cn: one
sn: T
employeeType: staff
userPassword: twin

dn: cn=two,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: twin
cn: two
sn: T
employeeType: staff
userPassword: twin

dn: cn=dev,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: dev
member: uid=alice, ou=People, dc=example, dc=com
member: cn=staff,ou=groups,dc=example,dc=com

dn: cn=staff,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: cn=dev,ou=groups,dc=example,dc=com

dn: cn=all,ou=groups,dc=example,dc=com
objectClass: groupOfUniqueNames
cn: all
uniqueMember: cn=staff,ou=groups,dc=example,dc=com

dn: cn=others,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: others
member: cn=search,dc=example,dc=com
`

// Server is a slapd with people below dc=example,dc=com: cn=search may search there, with
// the password "find them".
type Server struct {
	Plain, TLS string // URLs; the first one takes StartTLS too
	CA         []byte // PEM

	dir string
	cmd *exec.Cmd
}

func (s *Server) write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// New starts a server that ends with its test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{dir: t.TempDir(), Plain: "ldap://" + program.FreeAddress(t), TLS: "ldaps://" + program.FreeAddress(t)}
	certificate, key, err := cert.SelfSigned([]string{"127.0.0.1"}, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.CA = certificate
	if err := os.Mkdir(filepath.Join(s.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := s.write(t, "slapd.conf", fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile %[1]s/pid
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
database mdb
suffix "dc=example,dc=com"
rootdn "cn=admin,dc=example,dc=com"
rootpw admin
directory %[1]s/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn="cn=search,dc=example,dc=com" read by * none
overlay memberof
`, s.dir, s.write(t, "tls.crt", certificate), s.write(t, "tls.key", key)))
	add := exec.CommandContext(t.Context(), "/usr/sbin/slapadd", "-f", conf)
	add.Stdin = strings.NewReader(people)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	s.start(t, conf)
	return s
}

func (s *Server) start(t testing.TB, conf string) {
	t.Helper()
	var log bytes.Buffer
	s.cmd = exec.CommandContext(t.Context(), "/usr/sbin/slapd", "-d", "0", "-f", conf, "-h", s.Plain+" "+s.TLS)
	s.cmd.Stderr = &log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.TLS, "ldaps://"))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("slapd does not answer: %v %s", err, log.String())
		}
	}
}

// Stop ends the server.
func (s *Server) Stop() {
	_ = s.cmd.Process.Kill() // it has ended already
	_ = s.cmd.Wait()
}

// Admin is a connection of whoever may change the directory.
func (s *Server) Admin(t testing.TB) *ldap.Conn {
	t.Helper()
	conn, err := ldap.DialURL(s.Plain)
	if err == nil {
		err = conn.Bind("cn=admin,dc=example,dc=com", "admin")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
