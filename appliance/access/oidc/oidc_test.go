package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/limit"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	idp "github.com/redoubt-registry/redoubt/test/issuer"
)

const (
	audience = "registry.example.com"
	remote   = "192.0.2.1:1234"
)

// clock is a time that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

func github(i *idp.Issuer) Trust {
	return Trust{
		Issuer: i.URL, Audience: audience, Match: map[string]string{"repository": "example/*", "ref": "refs/heads/main"},
		User: "github-{repository}", Groups: []string{"builders"},
	}
}

func open(t testing.TB, trusts ...Trust) (*Source, *clock) {
	t.Helper()
	c := &clock{}
	s, err := New(trusts, nil, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

var main = map[string]any{"repository": "example/app", "ref": "refs/heads/main"}

// job is the claims of main with others.
func job(other map[string]any) map[string]any {
	all := map[string]any{}
	for _, m := range []map[string]any{main, other} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// elsewhere counts addresses, so that none of them has many failures.
var elsewhere atomic.Int64

func refused(t testing.TB, s *Source, token, why string) {
	t.Helper()
	_, err := s.Login(t.Context(), fmt.Sprintf("198.51.100.%d:1", elsewhere.Add(1)%250), User, token)
	if r, ok := errors.AsType[*Refused](err); !ok || !strings.Contains(r.Why, why) {
		t.Errorf("Check = %v, want refused: %s", err, why)
	}
	if token != "" && err != nil && strings.Contains(err.Error(), token) {
		t.Error("the error has the token")
	}
}

func taken(t testing.TB, s *Source, token string) users.Proven {
	t.Helper()
	login, err := s.Login(t.Context(), remote, User, token)
	if err != nil {
		t.Fatal(err)
	}
	return login
}

func TestTokens(t *testing.T) {
	t.Parallel()
	i := idp.New(t, false)
	kubernetes := Trust{
		Issuer: i.URL, Audience: "kubernetes", Match: map[string]string{"kubernetes.io.namespace": "**"},
		User: "k8s:{kubernetes.io.namespace}/{x}", Groups: []string{"clusters", "k8s-{kubernetes.io.namespace}"},
	}
	if _, err := New([]Trust{kubernetes}, nil, time.Now); err == nil {
		t.Error("a name with two claims is taken")
	}
	kubernetes.User = "k8s:{sub}"
	s, _ := open(t, github(i), kubernetes)
	if i.Asked.Load() != 0 {
		t.Error("an issuer was asked before there was a token")
	}
	token := i.Token(t, audience, main)
	for range 3 {
		want := acl.Who{User: "github-example/app", Groups: []string{"builders"}}
		if login := taken(t, s, token); !reflect.DeepEqual(login.Who, want) {
			t.Errorf("%+v", login)
		} else if left := time.Until(login.Until); left < 59*time.Minute || left > 62*time.Minute {
			t.Errorf("valid for %s", left)
		}
	}
	pod := map[string]any{"sub": "system:serviceaccount:shop:web", "kubernetes.io": map[string]any{"namespace": "shop"}}
	want := acl.Who{User: "k8s:system:serviceaccount:shop:web", Groups: []string{"clusters", "k8s-shop"}}
	if login := taken(t, s, i.Token(t, "kubernetes", pod)); !reflect.DeepEqual(login.Who, want) {
		t.Errorf("%+v", login)
	}
	if n := i.Asked.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestBadTokens(t *testing.T) {
	t.Parallel()
	i, other := idp.New(t, false), idp.New(t, false)
	s, clock := open(t, github(i))
	now := time.Now()
	good := i.Token(t, audience, main)
	taken(t, s, good)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := job(map[string]any{"iss": i.URL, "aud": audience, "exp": now.Add(time.Hour).Unix()})
	public, err := x509.MarshalPKIXPublicKey(i.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
	parts := strings.Split(good, ".")
	for name, tc := range map[string]struct{ token, why string }{
		"empty":               {"", "no token"},
		"a password":          {"secret", "no token"},
		"of another audience": {i.Token(t, "sts.amazonaws.com", main), "no item"},
		"of another issuer":   {other.Token(t, audience, main), "no item"},
		"says this issuer":    {other.Token(t, audience, job(map[string]any{"iss": i.URL})), "signature"},
		"own key, its kid":    {idp.Sign(t, jose.ES256, own, i.KeyID(), claims), "signature"},
		"own key, no kid":     {idp.Sign(t, jose.ES256, own, "", claims), "signature"},
		"wrong kid":           {idp.Sign(t, jose.ES256, own, "none", claims), "signature"},
		"alg none":            {none, "no token"},
		"HS256 of the key":    {idp.Sign(t, jose.HS256, publicPEM, i.KeyID(), claims), "no token"},
		"other claims":        {parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2], "signature"},
		"cut off":             {good[:len(good)-4], ""},
		"expired":             {i.Token(t, audience, job(map[string]any{"exp": now.Add(-61 * time.Second).Unix()})), "expired"},
		"for ever":            {i.Token(t, audience, job(map[string]any{"exp": nil})), "until when"},
		"not yet":             {i.Token(t, audience, job(map[string]any{"nbf": now.Add(2 * time.Minute).Unix()})), "not valid yet"},
		"another repository":  {i.Token(t, audience, job(map[string]any{"repository": "evil/app"})), "match no item"},
		"a fork's branch":     {i.Token(t, audience, job(map[string]any{"ref": "refs/heads/x"})), "match no item"},
		"a claim is missing":  {i.Token(t, audience, job(map[string]any{"ref": nil})), "match no item"},
		"a claim is a group":  {i.Token(t, audience, job(map[string]any{"ref": map[string]any{"x": 1}})), "match no item"},
		"too long":            {i.Token(t, audience, job(map[string]any{"x": strings.Repeat("x", 20_000)})), "no token"},
		"encrypted":           {good + ".a.b", "no token"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, s, tc.token, tc.why) })
	}
	taken(t, s, i.Token(t, audience, job(map[string]any{"exp": now.Add(-30 * time.Second).Unix()})))
	taken(t, s, i.Token(t, audience, job(map[string]any{"nbf": now.Add(30 * time.Second).Unix()})))
	clock.forward(62 * time.Minute)
	refused(t, s, good, "expired") // although it was known
}

func TestKeysAreExchanged(t *testing.T) {
	t.Parallel()
	i := idp.New(t, false)
	s, clock := open(t, github(i))
	before := i.Token(t, audience, main)
	taken(t, s, before)
	i.Rotate(t)
	after := i.Token(t, audience, main)
	refused(t, s, after, "signature") // the issuer was asked just now
	clock.forward(between)
	taken(t, s, after)
	asked := i.Asked.Load()
	for n := range 20 {
		refused(t, s, idp.New(t, false).Token(t, audience, job(map[string]any{"iss": i.URL, "n": n})), "signature")
	}
	if n := i.Asked.Load() - asked; n != 0 {
		t.Errorf("tokens with unknown keys made %d questions to the issuer", n)
	}
}

func TestIssuerIsDown(t *testing.T) {
	t.Parallel()
	i := idp.New(t, false)
	dead := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	i.Answer(dead)
	s, clock := open(t, github(i))
	token := i.Token(t, audience, map[string]any{"repository": "example/app", "ref": "refs/heads/main", "exp": time.Now().Add(48 * time.Hour).Unix()})
	for range 3 {
		if _, err := s.Login(t.Context(), remote, User, token); !isDown(err, "502") {
			t.Fatalf("Check = %v", err)
		}
	}
	if n := i.Asked.Load(); n != 1 {
		t.Errorf("a dead issuer was asked %d times", n)
	}
	if down := s.Down(); len(down) != 1 || !strings.Contains(down[0].Error(), i.URL) {
		t.Errorf("Down = %v", down)
	}
	i.Answer(nil)
	clock.forward(between)
	taken(t, s, token)
	if down := s.Down(); down != nil {
		t.Errorf("Down = %v", down)
	}
	i.Answer(dead)
	again, err := New([]Trust{github(i)}, s, clock.now) // a reload
	if err != nil {
		t.Fatal(err)
	}
	taken(t, again, token)
	clock.forward(2 * time.Hour)
	taken(t, again, token)
	for deadline := time.Now().Add(30 * time.Second); len(again.Down()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the issuer was not asked again")
		}
	}
	clock.forward(23 * time.Hour)
	if _, err := again.Login(t.Context(), remote, User, token); !isDown(err, "502") {
		t.Errorf("with keys of yesterday: %v", err)
	}
}

func isDown(err error, why string) bool {
	down, ok := errors.AsType[*Unavailable](err)
	return ok && strings.Contains(down.Error(), why)
}

func TestHostileIssuers(t *testing.T) {
	t.Parallel()
	say := func(v string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, v) }
	}
	for name, tc := range map[string]struct {
		answer func(url string) http.HandlerFunc
		why    string
	}{
		"redirects to metadata": {func(string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
			}
		}, "redirects"},
		"keys at metadata": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","jwks_uri":"https://169.254.169.254/latest"}`)
		}, "metadata"},
		"keys in the clear": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","jwks_uri":"http://192.0.2.1/keys"}`)
		}, "not https"},
		"keys in a file": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","jwks_uri":"file:///etc/passwd"}`)
		}, "not https"},
		"another's name": {func(string) http.HandlerFunc {
			return say(`{"issuer":"https://accounts.example.com","jwks_uri":"https://accounts.example.com/"}`)
		}, "calls itself otherwise"},
		"no JSON": {func(string) http.HandlerFunc { return say("<html>secret</html>") }, "not the JSON"},
		"10 MB": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","x":"` + strings.Repeat("x", 10<<20) + `"}`)
		}, "longer than"},
		"many keys": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","jwks_uri":"` + url + `","keys":[` + strings.Repeat("{},", 5000) + `{}]}`)
		}, "5001 keys"},
		"no keys": {func(url string) http.HandlerFunc {
			return say(`{"issuer":"` + url + `","jwks_uri":"` + url + `","keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"RSA","n":"AQAB","e":"AQAB"},7]}`)
		}, "no key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := idp.New(t, false)
			i.Answer(tc.answer(i.URL))
			s, _ := open(t, github(i))
			_, err := s.Login(t.Context(), remote, User, i.Token(t, audience, main))
			if !isDown(err, tc.why) || strings.Contains(err.Error(), "secret") || len(err.Error()) > 300 {
				t.Errorf("Check = %v, want %s", err, tc.why)
			}
		})
	}
}

// An issuer that answers byte by byte holds up who has a token of it, for a while, and
// nobody else.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	slow, well := idp.New(t, false), idp.New(t, false)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	slow.Answer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	s, _ := open(t, github(slow), github(well))
	var waiting sync.WaitGroup
	for n := range 50 {
		waiting.Go(func() {
			_, err := s.Login(t.Context(), fmt.Sprintf("192.0.2.%d:1", n), User, slow.Token(t, audience, job(map[string]any{"n": n % 20})))
			if err == nil {
				t.Error("a token of an issuer that says nothing is taken")
			}
		})
	}
	taken(t, s, well.Token(t, audience, main))
	waiting.Wait()
	if n := slow.Asked.Load(); n != 1 {
		t.Errorf("the slow issuer was asked %d times", n)
	}
}

func TestCABundle(t *testing.T) {
	t.Parallel()
	i := idp.New(t, true)
	s, _ := open(t, github(i))
	if _, err := s.Login(t.Context(), remote, User, i.Token(t, audience, main)); !isDown(err, "certificate") {
		t.Errorf("without its CA: %v", err)
	}
	trusted := github(i)
	trusted.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	s, _ = open(t, trusted)
	taken(t, s, i.Token(t, audience, main))
}

func TestFailuresAreLimited(t *testing.T) {
	t.Parallel()
	i := idp.New(t, false)
	s, _ := open(t, github(i))
	good := i.Token(t, audience, main)
	taken(t, s, good)
	var limited *limit.Refused
	for n := 0; n < 100 && limited == nil; n++ {
		_, err := s.Login(t.Context(), remote, User, fmt.Sprint(n))
		limited, _ = errors.AsType[*limit.Refused](err)
	}
	if limited == nil {
		t.Error("100 wrong tokens are not limited")
	}
	taken(t, s, good) // known
	if _, err := s.Login(t.Context(), "192.0.2.2:1", User, i.Token(t, audience, job(map[string]any{"n": 1}))); err != nil {
		t.Errorf("another machine's job: %v", err)
	}
}

func TestGuard(t *testing.T) {
	for address, want := range map[string][2]bool{ // without and with an issuer on loopback
		"192.0.2.1:443": {true, true}, "[2001:db8::1]:443": {true, true}, "10.0.0.1:443": {true, true},
		"127.0.0.1:443": {false, true}, "[::1]:443": {false, true}, "[::ffff:127.0.0.1]:443": {false, true},
		"0.0.0.0:443": {}, "[::]:443": {}, "169.254.169.254:80": {}, "[::ffff:169.254.169.254]:80": {}, "[fe80::1%eth0]:80": {},
		"[fd00:ec2::254]:80": {}, "100.100.100.200:80": {}, "224.0.0.1:80": {}, "name:80": {},
	} {
		for i, loopback := range []bool{false, true} {
			if err := guard(address, loopback); (err == nil) != want[i] {
				t.Errorf("guard(%s, %v) = %v", address, loopback, err)
			}
		}
	}
}

// A key of a hostile size never counts, whatever its form.
func FuzzToken(f *testing.F) {
	i := idp.New(f, false)
	s, _ := open(f, github(i))
	good := i.Token(f, audience, main)
	if _, err := s.Login(f.Context(), remote, User, good); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, ".", ".e30.", 1)))
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Fuzz(func(t *testing.T, token []byte) {
		_, err := s.verify(t.Context(), string(token))
		if err == nil && !bytes.Equal(token, []byte(good)) {
			t.Errorf("%q is taken", token)
		}
	})
}
