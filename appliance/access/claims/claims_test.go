package claims

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const kubernetes = `{
 "iss": "https://kubernetes.default.svc", "aud": ["registry.example.com"], "exp": 1893456000, "ok": true,
 "kubernetes.io": {"namespace": "shop", "pod": {"name": "web-1"}, "serviceaccount": {"name": "builder"}},
 "groups": ["dev", "ops", 7, ["nested"]], "sub": "system:serviceaccount:shop:builder", "none": null
}`

func decode(t testing.TB, text string) Claims {
	t.Helper()
	var c Claims
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestValues(t *testing.T) {
	c := decode(t, kubernetes)
	for name, want := range map[string][]string{
		"sub":                                {"system:serviceaccount:shop:builder"},
		"exp":                                {"1893456000"},
		"ok":                                 {"true"},
		"groups":                             {"dev", "ops", "7"},
		"kubernetes.io.namespace":            {"shop"},
		"kubernetes.io.serviceaccount.name":  {"builder"},
		"kubernetes.io.serviceaccount":       nil,
		"kubernetes.io.serviceaccount.name.": nil,
		"kubernetes.io":                      nil,
		"kubernetes":                         nil,
		"none":                               nil,
		"missing":                            nil,
		"":                                   nil,
	} {
		if got := c.Values(name); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, value string
		want           bool
	}{
		{"example/app", "example/app", true},
		{"example/app", "example/app2", false},
		{"example/app", "xexample/app", false},
		{"example/app", "example/app\n", false},
		{"example/*", "example/app", true},
		{"example/*", "example/app/x", false},
		{"example/*", "other/app", false},
		{"example/**", "example/app/x", true},
		{"refs/heads/*", "refs/heads/main", true},
		{"refs/heads/*", "refs/heads/a/b", false},
		{"repo:example/*:ref:refs/heads/main", "repo:example/app:ref:refs/heads/main", true},
		{"repo:example/*:ref:refs/heads/main", "repo:example/app:pull_request", false},
		{"repo:example/*:ref:refs/heads/main", "repo:evil/x:ref:refs/heads/main", false},
		{"a.c", "abc", false},
		{"(a|b)", "a", false},
		{"**", "line\nline", true},
		{"*", "", true},
		{"true", "true", true},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match([]string{tc.value}); got != tc.want {
			t.Errorf("%q and %q: %v", tc.pattern, tc.value, got)
		}
		if p.Match(nil) {
			t.Errorf("%q matches a claim that is missing", tc.pattern)
		}
	}
	for _, bad := range []string{"", "a***", strings.Repeat("x", 1001), "\xff"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestNames(t *testing.T) {
	c := decode(t, kubernetes)
	for text, want := range map[string][]string{
		"ci":                                    {"ci"},
		"k8s-{kubernetes.io.namespace}":         {"k8s-shop"},
		"k8s/{kubernetes.io.namespace}/pull":    {"k8s/shop/pull"},
		"oidc-{groups}":                         {"oidc-dev", "oidc-ops", "oidc-7"},
		"oidc-{missing}":                        nil,
		"sub:{sub}":                             {"sub:system:serviceaccount:shop:builder"},
		"kubernetes:{kubernetes.io.pod.name}-x": {"kubernetes:web-1-x"},
	} {
		n, err := ParseName(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := n.Expand(c); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q makes %q, %v, want %q", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "*", " a", "#a", "{sub}", "a{sub}", "a-{sub", "a-{}", "a-{sub}{x}", "a-}", "a\n", strings.Repeat("x", 256)} {
		if _, err := ParseName(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	n, err := ParseName("x-{v}")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "a\nb", "a ", strings.Repeat("x", 300)} {
		if got, err := n.Expand(Claims{"v": value}); err == nil {
			t.Errorf("%q makes %q", value, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("x-{a}", "b")
	f.Add("*", "*")
	f.Fuzz(func(t *testing.T, text, value string) {
		n, err := ParseName(text)
		if err != nil {
			return
		}
		names, err := n.Expand(Claims{"a": value})
		before, whole := n.Fixed()
		for _, name := range names {
			if err != nil || !n.Makes(name) || problem(name) != nil || !strings.HasPrefix(name, before) || whole && name != before {
				t.Errorf("%q and %q make %q", text, value, name)
			}
		}
	})
}
