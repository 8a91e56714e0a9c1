package hostname_test

import (
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

func TestProblem(t *testing.T) {
	for _, name := range []string{"a", "registry.example.com", "REGISTRY.example", "xn--bcher-kva.example", "192.0.2.1", "2001:db8::1", "1.example"} {
		if problem := hostname.Problem(name); problem != "" {
			t.Errorf("%q: %s", name, problem)
		}
	}
	for _, name := range []string{"", ".", "a..b", "a.", "-a", "a-", "a_b", "a b", "bücher.example", "https://a", "a:443", "[::1]:443",
		"192.0.2.256", "a.1", "0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if hostname.Problem(name) == "" {
			t.Errorf("%q is taken", name)
		}
	}
}

// What looks like an address in a URL is told by what it is.
func TestBracketsAndPorts(t *testing.T) {
	for name, want := range map[string]string{"[2001:db8::2]": "without brackets", "[2001:db8::2]:443": "without a port", "a.example.com:443": "without a port"} {
		if problem := hostname.Problem(name); !strings.Contains(problem, want) {
			t.Errorf("%s: %s", name, problem)
		}
	}
}

func TestDNSProblem(t *testing.T) {
	for _, address := range []string{"192.0.2.1", "::1"} {
		if hostname.DNSProblem(address) == "" {
			t.Errorf("%s is taken for a DNS name", address)
		}
	}
}

func TestOfAWS(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"https://S3.eu-west-1.amazonAWS.com":         true,
		"https://s3.cn-north-1.amazonaws.com.cn:443": true,
		"http://amazonaws.com/":                      true,
		"https://amazonaws.com.example":              false,
		"https://notamazonaws.com":                   false,
		"https://minio.example/.amazonaws.com":       false,
		"":                                           false,
		"://":                                        false,
	} {
		if got := hostname.OfAWS(endpoint); got != want {
			t.Errorf("%q: %v", endpoint, got)
		}
	}
}
