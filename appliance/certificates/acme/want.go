package acme

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/dns01"
	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// LetsEncrypt is the directory where none is configured.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Want is the certificate that is asked for.
type Want struct {
	Names     []string // DNS names and IP addresses
	Directory string   // URL of the CA's directory
	Email     string   // may be empty
	Profile   string   // empty: chosen here
	EABKeyID  string
	EABKey    string         // base64url
	Roots     string         // PEM; empty: the system's
	Proxy     outbound.Proxy `json:",omitzero"`
	// DNS proves names by records of the DNS; nil: the CA asks this machine on port 80.
	DNS *dns01.Settings `json:",omitempty"`
}

// digest identifies a Want: after a change of it earlier failures delay nothing.
func (w Want) digest() string {
	data, _ := json.Marshal(w) // strings alone
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// wanted is the digest of what is asked for. Machines that share a certificate may have
// different ways to the CA.
func (r *Renewer) wanted() string {
	w := r.Want
	if r.Local != nil {
		w.Proxy, w.DNS = outbound.Proxy{}, nil
	}
	return w.digest()
}

func (w Want) addresses() bool {
	for _, n := range w.Names {
		if _, err := netip.ParseAddr(n); err == nil {
			return true
		}
	}
	return false
}

// change is why the certificate of m is not the one that is wanted, or empty. A shared
// certificate may have more names: the machines' configurations change one after the
// other, and they must not order against each other meanwhile.
func (w Want) change(m *Memory, shared bool) string {
	pair, err := m.Pair()
	switch {
	case err != nil:
		return err.Error()
	case pair == nil:
		return ""
	case m.Directory != w.Directory:
		return "the CA has changed"
	case !cert.NamesAre(pair.Leaf, w.Names) && !(shared && m.Covers(w.Names)):
		return "the names have changed"
	case m.AskedFor != w.Profile:
		return "the configured profile has changed"
	}
	return ""
}

// Covers says whether the certificate of m is for names, and perhaps for more.
func (m *Memory) Covers(names []string) bool {
	leaf := m.leaf()
	return leaf != nil && cert.NamesInclude(leaf, names)
}

// Fits says whether the certificate of m is for exactly names.
func (m *Memory) Fits(names []string) bool {
	leaf := m.leaf()
	return leaf != nil && cert.NamesAre(leaf, names)
}
