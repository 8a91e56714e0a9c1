package cert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"fmt"
	"io"
	"time"
)

// IssuePair makes a key and a server certificate for names, valid for validity or to
// the authority's own end if that is sooner.
func (ca *CA) IssuePair(names []string, now time.Time, validity time.Duration, rand io.Reader) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot make a key: %w", err)
	}
	c, err := ca.Issue(key.Public(), names, now, validity, rand)
	if err != nil {
		return Pair{}, err
	}
	encoded, err := keyPEM(key)
	return Pair{Chain: append(certificatePEM(c.Raw), ca.chain()...), Key: encoded}, err
}

// Dirs are where the machine keeps its own authorities and what it serves.
type Dirs struct {
	Authorities, Certificates string
	GID                       int // of the registry, which reads the keys of what is served; -1 leaves the group alone
}

// CarryOut does what was decided. When it fails, what was in force stays so.
func (d Decision) CarryOut(dirs Dirs, now time.Time, validity time.Duration, rand io.Reader) error {
	if err := FinishAuthorities(dirs.Authorities); err != nil {
		return err
	}
	made := map[int]*CA{}
	for _, a := range d.Authorities {
		ca, err := MakeAuthority(dirs.Authorities, a.Number, a.Names, now, rand)
		if err != nil {
			return err
		}
		made[a.Number] = ca
	}
	switch {
	case len(d.Serve) == 0:
		return nil
	case !d.Publish():
		return SetOwners(dirs.Certificates, dirs.GID)
	}
	var pairs []Pair
	for _, s := range d.Serve {
		p, err := s.pair(made, now, validity, rand)
		if err != nil {
			return err
		}
		pairs = append(pairs, p)
	}
	return Publish(dirs.Certificates, dirs.GID, pairs...)
}

func (s Serve) pair(made map[int]*CA, now time.Time, validity time.Duration, rand io.Reader) (Pair, error) {
	switch {
	case s.Keep != nil:
		return encode(s.Keep)
	case s.Given != nil:
		return Pair{Chain: s.Given.Chain, Key: s.Given.Key}, nil
	case s.By != nil:
		return s.By.IssuePair(s.Names, now, validity, rand)
	}
	return made[s.New].IssuePair(s.Names, now, validity, rand)
}

// encode is a pair in PEM again.
func encode(p *tls.Certificate) (Pair, error) {
	var out Pair
	for _, der := range p.Certificate {
		out.Chain = append(out.Chain, certificatePEM(der)...)
	}
	key, ok := p.PrivateKey.(crypto.Signer)
	if !ok {
		return out, fmt.Errorf("cannot encode a key of type %T", p.PrivateKey)
	}
	var err error
	out.Key, err = keyPEM(key)
	return out, err
}

// EncodeTop returns the last certificate that a server sends in PEM: the authority,
// where it is one of the machine's own.
func EncodeTop(p *tls.Certificate) []byte { return certificatePEM(p.Certificate[len(p.Certificate)-1]) }
