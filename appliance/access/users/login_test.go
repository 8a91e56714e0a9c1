package users

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/distribution/distribution/v3/registry/auth"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/identity"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
)

func request(user, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.RemoteAddr = remote
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return r
}

// TestLogin holds who is taken for whom, and that one check does for the front
// and the access controller.
func TestLogin(t *testing.T) {
	table, w, _ := newTable(t, "alice:"+hash(t, "right", 4))
	c := &controller{realm: "Redoubt", table: table}
	withCertificate := request("alice", "wrong")
	for name, tc := range map[string]struct {
		r    *http.Request
		user string
		want error
	}{
		"a right password":   {request("alice", "right"), "alice", nil},
		"a wrong password":   {request("alice", "wrong"), "", ErrRefused},
		"nothing":            {request("", ""), "", auth.ErrInvalidCredential},
		"a certificate":      {withCertificate.WithContext(clients.With(t.Context(), acl.Who{User: "ci"})), "ci", nil},
		"a password, again":  {request("alice", "right"), "alice", nil},
		"an unknown user":    {request("mallory", "right"), "", ErrRefused},
		"a NUL in the login": {request("alice", "right\x00"), "", ErrRefused},
	} {
		ctx, who := identity.With(tc.r.Context())
		r, err := table.Login(tc.r.WithContext(ctx), nil)
		if !errors.Is(err, tc.want) || who.User() != tc.user {
			t.Errorf("%s: user %q, %v", name, who.User(), err)
		}
		before, stats := w.calls.Load(), table.Stats()
		grant, err := c.Authorized(r)
		if (err == nil) != (tc.want == nil) || err == nil && grant.User.Name != tc.user {
			t.Errorf("%s: Authorized = %v, %v", name, grant, err)
		}
		if w.calls.Load() != before || table.Stats() != stats {
			t.Errorf("%s was checked twice", name)
		}
	}
}

// TestStats holds what is counted, and that only the connection says whose failure
// it is.
func TestStats(t *testing.T) {
	table, _, _ := newTable(t, "alice:"+hash(t, "right", 4))
	refused := limit.Default(1).User.Burst
	for i := range refused + 3 {
		r := request("alice", fmt.Sprint("wrong", i))
		r.Header.Set("X-Forwarded-For", fmt.Sprint("198.51.100.", i)) // which everybody can send
		_, _ = table.Login(r, nil)
	}
	_, _ = table.Login(request("alice", "wrong0"), nil) // once more
	_, _ = table.Login(request("", ""), nil)
	if got, want := table.Stats(), (Stats{Refused: uint64(refused) + 1, Limited: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
