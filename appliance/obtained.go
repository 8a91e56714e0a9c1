package appliance

import (
	"context"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/certificates/acme"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// publishObtained takes up the certificate that the CA gave, as this machine knows
// it: where several share one, from its own copy. Until there is one
// for names, the own CA's serves; a pair that another CA made for names stays
// instead, as after a change of the CA or of the mode.
func (m *Machine) publishObtained(names []string, want target, gid int) (cert.Outcome, error) {
	memory, _, err := acme.Load(context.Background(), m.certificateState())
	if err != nil {
		return m.keepOr(names, want, gid, err)
	}
	if !memory.Covers(names) {
		return m.keepOr(names, want, gid, nil)
	}
	obtained, err := memory.Pair()
	if err != nil {
		return cert.Outcome{}, err
	}
	dir := filepath.Join(m.Root, certificatesDir)
	if have, err := cert.Current(dir); err == nil && have.Leaf.Equal(obtained.Leaf) {
		return cert.Outcome{}, nil
	}
	return cert.Outcome{New: true, Reason: "it was obtained from " + memory.Directory},
		cert.Publish(dir, []byte(memory.Chain), []byte(memory.Key), gid)
}

// keepOr leaves a published pair of another CA, or sees to one of the own CA.
// problem is why there is nothing better.
func (m *Machine) keepOr(names []string, want target, gid int, problem error) (cert.Outcome, error) {
	have, err := cert.Current(filepath.Join(m.Root, certificatesDir))
	if err == nil && cert.NamesAre(have.Leaf, names) && m.Now().Before(have.Leaf.NotAfter) {
		ca, err := m.authority(names, want)
		if err != nil || have.Leaf.CheckSignatureFrom(ca.Certificate) != nil {
			return cert.Outcome{}, problem
		}
	}
	out, err := m.issue(names, want, gid)
	if err != nil || problem == nil {
		return out, err
	}
	return out, problem
}
