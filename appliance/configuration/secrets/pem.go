package secrets

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// PEM returns what value says or where it says that it is.
func (r Resolver) PEM(value config.Secret) ([]byte, error) { return r.pem(value, cert.ReadFile) }

// Key is PEM for a private key: a file that anybody may read is refused.
func (r Resolver) Key(value config.Secret) ([]byte, error) { return r.pem(value, cert.ReadKeyFile) }

func (r Resolver) pem(value config.Secret, read func(string) ([]byte, error)) ([]byte, error) {
	path, ok := strings.CutPrefix(string(value), "file:")
	if !ok || r.away(value) {
		text, err := r.Value(value)
		if err != nil {
			return nil, err
		}
		return []byte(text), nil
	}
	data, err := read(filepath.Join(r.Root, path))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, files.Cause(err))
	}
	return data, nil
}

// Pair reads and checks the certificate that was brought, for names at now. The
// error is a Problem, or several that are joined.
func (r Resolver) Pair(pair config.KeyPair, names []string, now time.Time) (cert.Checked, error) {
	certPEM, key, err := r.both("tls.files", pair.Certificate, pair.PrivateKey)
	if err != nil || certPEM == nil || key == nil {
		return cert.Checked{}, err
	}
	checked, err := cert.CheckPair(certPEM, key, names, now)
	if err != nil {
		return checked, unusable("tls.files", pair.Certificate, pair.PrivateKey, err)
	}
	return checked, nil
}

// CA reads and checks the authority that was brought, for names at now. Its errors
// are those of Pair.
func (r Resolver) CA(ca config.InternalCA, names []string, now time.Time) (*cert.CA, error) {
	certPEM, key, err := r.both("tls.internalCA", ca.Certificate, ca.PrivateKey)
	if err != nil || certPEM == nil || key == nil {
		return nil, err
	}
	out, err := cert.CheckCA(certPEM, key, names, now)
	if err != nil {
		return nil, unusable("tls.internalCA", ca.Certificate, ca.PrivateKey, err)
	}
	return out, nil
}

// both reads a pair. What is not looked for is nil.
func (r Resolver) both(path, certificate string, privateKey config.Secret) (certPEM, key []byte, err error) {
	var errs []error
	if certPEM, err = r.PEM(config.Secret(certificate)); err != nil {
		errs = append(errs, Problem{path + ".certificate", err})
	}
	if key, err = r.Key(privateKey); err != nil {
		errs = append(errs, Problem{path + ".privateKey", err})
	}
	return certPEM, key, sought(errs)
}

func unusable(path, certificate string, key config.Secret, err error) error {
	return Problem{path + ".certificate", fmt.Errorf("cannot use %s: %w", called(certificate, path, key), err)}
}

// called names a pair by its files, or by its key of the configuration.
func called(certificate, otherwise string, key config.Secret) string {
	file, ok := strings.CutPrefix(certificate, "file:")
	if !ok {
		return otherwise
	}
	if keyFile, ok := strings.CutPrefix(string(key), "file:"); ok {
		return file + " and " + keyFile
	}
	return file
}

// clientTrust reads the CAs of clients and their revocation lists. Whether they
// are in force is the registry's to see, at each request.
func (r Resolver) clientTrust(cfg config.Config, facts *render.Facts, errs *[]error) {
	auth := cfg.TLS.ClientAuth
	if auth.Mode == "none" {
		return
	}
	all := true
	for i, value := range auth.CAs {
		data, err := r.PEM(config.Secret(value))
		if err == nil {
			data, err = cert.CheckCAs(data, time.Time{})
		}
		if err != nil {
			*errs, all = append(*errs, Problem{fmt.Sprintf("tls.clientAuth.cas[%d]", i), err}), false
		}
		facts.ClientCAs = append(facts.ClientCAs, data...)
	}
	for i, value := range auth.CRLs {
		data, err := r.PEM(config.Secret(value))
		if err == nil && all {
			data, err = cert.CheckCRLs(data, facts.ClientCAs)
		}
		if err != nil {
			*errs = append(*errs, Problem{fmt.Sprintf("tls.clientAuth.crls[%d]", i), err})
		}
		facts.ClientCRLs = append(facts.ClientCRLs, data...)
	}
}

// ClientTrust returns the files of the CAs and revocation lists that clients are
// checked with.
func (r Resolver) ClientTrust(cfg config.Config) (render.Facts, error) {
	var facts render.Facts
	var errs []error
	r.clientTrust(cfg, &facts, &errs)
	return facts, errors.Join(errs...)
}
