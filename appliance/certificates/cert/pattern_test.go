package cert

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

func TestPattern(t *testing.T) {
	subject := func(attributes ...string) pkix.Name {
		oids := map[string]asn1.ObjectIdentifier{"CN": {2, 5, 4, 3}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}}
		var rdn pkix.RDNSequence
		for i := 0; i < len(attributes); i += 2 {
			rdn = append(rdn, pkix.RelativeDistinguishedNameSET{{Type: oids[attributes[i]], Value: attributes[i+1]}})
		}
		var n pkix.Name
		n.FillFromRDNSequence(&rdn)
		return n
	}
	for _, tc := range []struct {
		pattern string
		subject pkix.Name
		want    bool
	}{
		{"CN=ci-*", subject("CN", "ci-1"), true},
		{"CN=ci-*", subject("CN", "ci-"), true},
		{"CN=ci-*", subject("CN", "xci-1"), false},
		{"CN=ci-*", subject("O", "ci-1"), false},
		{"CN=ci-*", subject("CN", "ci-1", "CN", "admin"), false},
		{"O=A", subject("CN", "a", "CN", "b", "O", "A"), false},
		{"cn=a", subject("CN", "a"), true},
		{"CN=a", subject("CN", "A"), false},
		{"CN=*", subject("CN", "anything"), true},
		{"CN=*", subject("O", "A"), false},
		{"CN=*-prod-*", subject("CN", "ci-prod-7"), true},
		{"CN=*-prod-*", subject("CN", "ci-prod7"), false},
		{"CN=a*a", subject("CN", "a"), false},
		{"CN=a*b*b", subject("CN", "ab"), false},
		{"CN=ci-*, O=Example", subject("CN", "ci-1", "O", "Example"), true},
		{"CN=ci-*,O=Example", subject("CN", "ci-1", "O", "Other"), false},
		{"OU=build", subject("CN", "a", "OU", "test", "OU", "build"), true},
		{"CN=ci-1,O=A", subject("CN", "ci-1,O=A"), false},
		{"CN=a.c", subject("CN", "abc"), false},
		{"any", subject("CN", "a"), true},
		{"any", subject("O", "A"), true},
		{"any", subject("CN", "a", "CN", "b"), true},
		{"any", pkix.Name{}, true},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Errorf("%s: %v", tc.pattern, err)
		} else if got := p.Match(tc.subject); got != tc.want {
			t.Errorf("%s on %s: %v", tc.pattern, tc.subject, got)
		}
	}
	if (Pattern{}).Match(subject("CN", "a")) {
		t.Error("no pattern matches all")
	}
	for _, bad := range []string{"", "ci-*", "CN=", "=a", "DC=a", "CN=a,CN=b", "CN=a,", "CN=a O=b,", "any,CN=a", "*", "Any"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
