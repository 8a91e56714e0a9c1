package token

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// world is an issuer with a key, and a clock that the test moves.
type world struct {
	*Issuer
	time time.Time
	keys Keys
}

func newWorld(t testing.TB, audience string) *world {
	t.Helper()
	w := &world{time: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.Issuer = NewIssuer(audience, func() time.Time { return w.time })
	w.rotate(t)
	return w
}

func (w *world) rotate(t testing.TB) bool {
	t.Helper()
	keys, changed, err := w.keys.Rotate(w.time)
	if err != nil {
		t.Fatal(err)
	}
	w.keys = keys
	w.SetKeys(keys)
	return changed
}

func (w *world) mint(t testing.TB, lifetime time.Duration) string {
	t.Helper()
	text, _, err := w.Mint(Claims{Use: Access, User: "alice", Groups: []string{"dev"}, Proof: "password", Stamp: "s",
		Grants: []Grant{{"repository", "team/app", []string{"pull"}}}}, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestToken(t *testing.T) {
	w := newWorld(t, "registry.example.com")
	text := w.mint(t, 5*time.Minute)
	for range 2 { // the second time from memory
		c, err := w.Verify(text, Access)
		if err != nil || c.User != "alice" || c.Groups[0] != "dev" || c.Proof != "password" || c.Stamp != "s" ||
			!c.Grants[0].Allows("repository", "team/app", "pull") || c.Grants[0].Allows("repository", "team/app", "push") {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if _, err := w.Verify(text, Login); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another use: %v", err)
	}
	w.time = w.time.Add(5 * time.Minute)
	if _, err := w.Verify(text, Access); !errors.Is(err, ErrInvalid) {
		t.Errorf("expired, and known: %v", err)
	}
	w.time = w.time.Add(-10 * time.Minute)
	if _, err := w.Verify(text, Access); !errors.Is(err, ErrInvalid) {
		t.Errorf("of the future: %v", err)
	}
	if _, until, err := w.Mint(Claims{Use: Login}, 1000*time.Hour); err != nil || until.After(w.time.Add(MaxLifetime)) {
		t.Errorf("longer than the keys are kept: %v, %v", until, err)
	}
	if _, until, err := w.Mint(Claims{Use: Access, Expires: w.time.Add(time.Minute)}, time.Hour); err != nil || !until.Equal(w.time.Add(time.Minute)) {
		t.Errorf("longer than its login: %v, %v", until, err)
	}
	if _, _, err := NewIssuer("x", time.Now).Mint(Claims{}, time.Hour); !errors.Is(err, ErrNoKeys) {
		t.Errorf("without a key: %v", err)
	}
}

// What is not wholly ours is refused.
func TestForged(t *testing.T) {
	w := newWorld(t, "registry.example.com")
	good := w.mint(t, time.Hour)
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	jwk, _ := w.keys.signer(w.time)
	private, _ := jwk.Key.(*ecdsa.PrivateKey)
	publicDER, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	ours := body{Use: Access, Claims: jwt.Claims{Issuer: issuer, Subject: "root", Audience: jwt.Audience{"registry.example.com"},
		IssuedAt: jwt.NewNumericDate(w.time), Expiry: jwt.NewNumericDate(w.time.Add(time.Hour))}}
	sign := func(algorithm jose.SignatureAlgorithm, key any, id string, b body) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(b).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := w.Verify(sign(jose.ES256, private, jwk.KeyID, ours), Access); err != nil {
		t.Fatalf("made by hand as the others are: %v", err)
	}
	other := newWorld(t, "registry.example.com")
	otherKey, _ := other.keys.signer(w.time)
	elsewhere := newWorld(t, "other.example.com")
	elsewhere.SetKeys(w.keys)
	with := func(change func(*body)) string {
		b := ours
		change(&b)
		return sign(jose.ES256, private, jwk.KeyID, b)
	}
	for name, text := range map[string]string{
		"of another machine":          other.mint(t, time.Hour),
		"of another audience":         elsewhere.mint(t, time.Hour),
		"alg none":                    encode([]byte(`{"alg":"none","kid":"`+jwk.KeyID+`"}`)) + "." + parts[1] + ".",
		"HS256 by the public key":     sign(jose.HS256, publicDER, jwk.KeyID, ours),
		"ES384's name on it":          encode([]byte(`{"alg":"ES384","kid":"`+jwk.KeyID+`"}`)) + "." + parts[1] + "." + parts[2],
		"another key by our name":     sign(jose.ES256, otherKey.Key, jwk.KeyID, ours),
		"wrong kid":                   sign(jose.ES256, private, "x", ours),
		"no kid":                      sign(jose.ES256, private, "", ours),
		"its claims changed":          parts[0] + "." + encode([]byte(`{"sub":"root"}`)) + "." + parts[2],
		"no expiry":                   with(func(b *body) { b.Expiry = nil }),
		"no time of issue":            with(func(b *body) { b.IssuedAt = nil }),
		"another issuer":              with(func(b *body) { b.Issuer = "x" }),
		"no audience":                 with(func(b *body) { b.Audience = nil }),
		"a signature with more to it": good + "AA",
		"empty":                       "",
		"two dots":                    "..",
		"JSON":                        `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"very long":                   strings.Repeat("a", MaxSize+1),
	} {
		if c, err := w.Verify(text, Access); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// A key is replaced without a token becoming invalid, on all machines that share it.
func TestRotation(t *testing.T) {
	w := newWorld(t, "a")
	if w.rotate(t) {
		t.Error("a young key is replaced")
	}
	slow := newWorld(t, "a") // a machine that reads the keys an hour late
	slow.keys = w.keys
	slow.SetKeys(w.keys)
	first := w.keys.list[0].JWK.KeyID
	w.time = w.time.Add(keyPeriod + time.Minute)
	slow.time = w.time
	old := w.mint(t, MaxLifetime)
	if !w.rotate(t) || len(w.keys.list) != 2 {
		t.Fatal("an old key is not replaced")
	}
	if _, err := w.Verify(old, Access); err != nil {
		t.Errorf("a token from before: %v", err)
	}
	if _, err := slow.Verify(w.mint(t, time.Minute), Access); err != nil {
		t.Errorf("a token made before all have the new key: %v", err)
	}
	w.time = w.time.Add(keyOverlap)
	slow.time = w.time
	fresh := w.mint(t, time.Minute)
	if _, err := slow.Verify(fresh, Access); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a key that is not read yet: %v", err)
	}
	slow.SetKeys(w.keys)
	if _, err := slow.Verify(fresh, Access); err != nil {
		t.Errorf("once it is: %v", err)
	}
	w.time = w.time.Add(MaxLifetime + keyOverlap + time.Minute)
	if !w.rotate(t) || len(w.keys.list) != 1 || w.keys.list[0].JWK.KeyID == first {
		t.Error("the old key stays for ever")
	}
	if _, err := w.Verify(old, Access); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token of a key that is gone: %v", err)
	}
	data, err := w.keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseKeys(data); err != nil || !again.same(w.keys) {
		t.Errorf("written and read: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"from":"2027-01-01T00:00:00Z","key":{"kty":"oct","k":"YWJj","kid":"x"}}]}`} {
		if _, err := ParseKeys([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestScopes(t *testing.T) {
	for text, want := range map[string]string{
		"repository:team/app:pull,push":          "repository:team/app:pull,push",
		"repository:a:pull repository:b:pull":    "repository:a:pull repository:b:pull",
		"repository:host:5000/a:pull":            "repository:host:5000/a:pull",
		"repository(plugin):a:pull":              "repository:a:pull",
		"registry:catalog:*":                     "registry:catalog:*",
		"repository:a:pull,,pull":                "repository:a:pull",
		"repository:a:":                          "repository:a:",
		"":                                       "",
		"repository":                             "error",
		"repository:a":                           "error",
		":a:pull":                                "error",
		"(x):a:pull":                             "error",
		"repository::pull":                       "error",
		"repository:a\":pull":                    "error",
		"repository:\x00:pull":                   "error",
		strings.Repeat("repository:a:pull ", 65): "error",
		"repository:" + strings.Repeat("a", 5000) + ":pull": "error",
	} {
		grants, err := ParseScopes([]string{text})
		var got []string
		for _, g := range grants {
			got = append(got, g.String())
		}
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%.60q: %v, %v", text, got, err)
		}
	}
}

// FuzzScopes holds that what is read as a scope is written as one, and can stand in a header.
func FuzzScopes(f *testing.F) {
	f.Add("repository:team/app:pull,push registry:catalog:*")
	f.Add("repository(plugin):a:5000/b:*")
	f.Fuzz(func(t *testing.T, text string) {
		grants, err := ParseScopes([]string{text})
		if err != nil {
			return
		}
		for _, g := range grants {
			again, err := ParseScopes([]string{g.String()})
			if err != nil || len(again) != 1 || again[0].String() != g.String() || !plain(g.String()) {
				t.Errorf("%q: %q, %v, %v", text, g, again, err)
			}
		}
	})
}

// FuzzVerify holds that no token says anything but what the one that was made says. Its
// signature can be written in more than one way.
func FuzzVerify(f *testing.F) {
	w := newWorld(f, "registry.example.com")
	good := w.mint(f, time.Hour)
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := w.Verify(text, Access)
		signed := strings.HasPrefix(text, good[:strings.LastIndexByte(good, '.')+1])
		if (text == good) && err != nil || err == nil && (!signed || c.User != "alice") {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, "registry.example.com")
	text := w.mint(b, time.Hour)
	for b.Loop() {
		if _, err := w.Verify(text, Access); err != nil {
			b.Fatal(err)
		}
	}
}
