package bucket

import (
	"crypto/x509"
	"errors"
)

// Passing tells whether an error may pass by waiting: the store is away, cannot be
// reached, or the clock is not set yet. Other failures of TLS need an operator.
func Passing(err error) bool {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return invalid.Reason == x509.Expired
	}
	return errors.Is(err, ErrUnavailable) && explainTrust(err) == nil
}
