package renewal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Profile chooses the certificate profile to ask for. The configured one wins,
// then the one that the last certificate has, so that a renewal changes
// nothing; then shortlived for IP addresses, which no other has, and tlsserver.
// A CA that offers profiles is always asked for one: what it would choose itself
// may change. An error is a configured profile that the CA does not offer.
func Profile(configured, kept string, addresses bool, offered map[string]string) (string, error) {
	names := slices.Sorted(maps.Keys(offered))
	if configured != "" {
		if slices.Contains(names, configured) {
			return configured, nil
		}
		if len(names) == 0 {
			return "", fmt.Errorf("the CA offers no certificate profiles, and tls.acme.profile is %q: leave it out", configured)
		}
		return "", fmt.Errorf("the CA does not offer the profile %q (tls.acme.profile): it offers %s", configured, strings.Join(names, ", "))
	}
	choice := []string{kept, "tlsserver", "classic", "default"}
	if addresses {
		choice = []string{"shortlived", kept, "tlsserver", "classic", "default"}
	}
	for _, name := range choice {
		if slices.Contains(names, name) {
			return name, nil
		}
	}
	if len(names) > 0 {
		return names[0], nil
	}
	return "", nil
}
