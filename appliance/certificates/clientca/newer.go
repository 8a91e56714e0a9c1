package clientca

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// Newer says whether the store in dir is a later state of the one in other: they have an
// authority in common, and this one has made as many revocation lists, or more. The other
// one would let in whom this one has revoked since.
func Newer(dir, other string) bool {
	mine, theirs := authorities(dir), authorities(other)
	common := slices.ContainsFunc(mine, func(raw string) bool { return slices.Contains(theirs, raw) })
	a, b := &Store{dir: dir}, &Store{dir: other}
	_, aErr := a.loadRecord()
	_, bErr := b.loadRecord()
	return common && aErr == nil && (bErr != nil || a.record.Number >= b.record.Number)
}

// authorities are the certificates that count in a store, which has those put aside too.
func authorities(dir string) (out []string) {
	data, err := os.ReadFile(filepath.Join(dir, CertificateFile))
	if err != nil {
		return nil
	}
	list, _ := cert.ParseCAs(data) // none: nothing is common
	for _, c := range list {
		out = append(out, string(c.Raw))
	}
	return out
}
