package bucket

import (
	"crypto/x509"
	"errors"
)

// Passing tells of an error that waiting may mend: the store is away, cannot be
// reached, or the clock is not set yet. What else is wrong with TLS stays until
// somebody mends it.
func Passing(err error) bool {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalid.Reason == x509.Expired
	}
	return errors.Is(err, ErrUnavailable) && explainTrust(err) == nil
}
