//go:build integration

package ldap

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/token"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/slapd"
)

func settings(s *slapd.Server) Settings {
	return Settings{
		Servers: []string{s.Plain}, StartTLS: true, CABundle: s.CA, BindDN: "cn=search,dc=example,dc=com", Password: "find them",
		UserBase: "ou=people,dc=example,dc=com", UserAttribute: "uid", UserFilter: "(employeeType=staff)",
		Groups: GroupOfNames, GroupBase: "ou=groups,dc=example,dc=com", Timeout: 10 * time.Second, Cache: time.Minute,
	}
}

func open(t testing.TB, s Settings) (*Directory, *atomic.Int64) {
	t.Helper()
	ahead := &atomic.Int64{}
	d, err := New(s, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	return d, ahead
}

func TestSlapd(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	for name, change := range map[string]func(*Settings){
		"StartTLS":       func(*Settings) {},
		"LDAPS":          func(x *Settings) { x.Servers = []string{s.TLS} },
		"plain":          func(x *Settings) { x.StartTLS = false },
		"the second one": func(x *Settings) { x.Servers = []string{"ldap://" + program.FreeAddress(t), s.TLS} },
	} {
		given := settings(s)
		change(&given)
		d, _ := open(t, given)
		got, err := d.Login(t.Context(), "192.0.2.1:1", "Alice", "correct horse")
		slices.Sort(got.Groups)
		if err != nil || got.User != "alice" || !slices.Equal(got.Groups, []string{"all", "dev", "staff"}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	d, _ := open(t, settings(s))
	for i, c := range [][2]string{
		{"alice", ""}, {"alice", "wrong"}, {"alice", "correct horse\x00"}, {"nobody", "correct horse"}, {"", "correct horse"}, {"twin", "twin"},
		{"bob", "battery staple"}, {"*", "correct horse"}, {"ali*", "correct horse"}, {"alice)(uid=*", "correct horse"}, {"alice\x00", "correct horse"},
		{"search", "find them"}, {" alice", "correct horse"}, {`alice\2a`, "correct horse"},
	} {
		if got, err := d.Login(t.Context(), fmt.Sprintf("192.0.2.%d:1", i), c[0], c[1]); !errors.Is(err, users.ErrRefused) {
			t.Errorf("%q with %q: %+v, %v", c[0], c[1], got, err)
		}
	}
	if err := d.Down(); err != nil {
		t.Error(err)
	}
}

// A user who is taken out of the directory is out when the answer is forgotten; a wrong
// password that a client repeats is asked once.
func TestRemovedUser(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	d, ahead := open(t, settings(s))
	var proven users.Proven
	login := func() (err error) {
		proven, err = d.Login(t.Context(), "192.0.2.1:1", "alice", "correct horse")
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	claims := proven.Claims(token.Access, nil)
	for range 3 {
		if p, ok := d.Stands(t.Context(), &claims); !ok || p.User != "alice" || !slices.Contains(p.Groups, "all") {
			t.Errorf("a token after it: %+v", p)
		}
	}
	if err := s.Admin(t).Del(ldap.NewDelRequest("uid=alice,ou=people,dc=example,dc=com", nil)); err != nil {
		t.Fatal(err)
	}
	if err := login(); err != nil {
		t.Errorf("within the time of the cache: %v", err)
	}
	ahead.Add(int64(time.Minute))
	if err := login(); !errors.Is(err, users.ErrRefused) {
		t.Errorf("after it: %v", err)
	}
	if _, ok := d.Stands(t.Context(), &claims); ok {
		t.Error("a token of a removed user stands")
	}
	foreign := claims
	foreign.User, foreign.Stamp = "bob", "another directory"
	if _, ok := d.Stands(t.Context(), &foreign); ok {
		t.Error("a token of another directory stands")
	}
	s.Stop()
	if err := login(); !errors.Is(err, users.ErrRefused) {
		t.Errorf("what was refused is asked again: %v", err)
	}
}

func TestDeadDirectory(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	for name, c := range map[string]struct {
		change func(*Settings)
		why    string
	}{
		"nobody there":   {func(x *Settings) { x.Servers = []string{"ldap://" + program.FreeAddress(t)} }, "refused"},
		"another CA":     {func(x *Settings) { x.CABundle = nil }, "certificate"},
		"wrong password": {func(x *Settings) { x.Password = "s3cretvalue" }, "log in with bindDN"},
		"no login":       {func(x *Settings) { x.BindDN = "" }, ""},
		"silent": {func(x *Settings) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			x.Servers, x.Timeout = []string{"ldap://" + l.Addr().String()}, 200*time.Millisecond
		}, "begin TLS"},
	} {
		given := settings(s)
		c.change(&given)
		d, _ := open(t, given)
		_, err := d.Login(t.Context(), "192.0.2.1:1", "alice", "correct horse")
		if err == nil || c.why != "" && (!errors.Is(err, users.ErrAway) || !strings.Contains(err.Error(), c.why)) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
		if c.why != "" && d.Down() == nil {
			t.Errorf("%s: it is not said to be down", name)
		}
	}
}

func TestFailuresAreLimited(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	d, _ := open(t, settings(s))
	var limited *limit.Refused
	for n := 0; n < 100 && limited == nil; n++ {
		_, err := d.Login(t.Context(), "192.0.2.1:1", "alice", fmt.Sprint(n))
		limited, _ = errors.AsType[*limit.Refused](err)
	}
	if limited == nil {
		t.Error("100 wrong passwords are not limited")
	}
	if _, err := d.Login(t.Context(), "192.0.2.2:1", "alice", "correct horse"); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

func TestMemberOf(t *testing.T) {
	t.Parallel()
	s := slapd.New(t)
	// The overlay writes memberOf at changes alone, not for what slapadd has loaded.
	modify := ldap.NewModifyRequest("cn=others,ou=groups,dc=example,dc=com", nil)
	modify.Add("member", []string{"uid=alice,ou=people,dc=example,dc=com"})
	if err := s.Admin(t).Modify(modify); err != nil {
		t.Fatal(err)
	}
	given := settings(s)
	given.Groups = MemberOf
	d, _ := open(t, given)
	got, err := d.Login(t.Context(), "192.0.2.1:1", "alice", "correct horse")
	if err != nil || !slices.Equal(got.Groups, []string{"others"}) {
		t.Errorf("%+v, %v", got, err)
	}
}
