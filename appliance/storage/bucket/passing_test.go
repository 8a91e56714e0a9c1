package bucket

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
)

func TestPassing(t *testing.T) {
	of := func(kind, cause error) error { return &Error{Op: "list", Err: cause, kind: kind} }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"away":            {of(ErrUnavailable, errors.New("connection refused")), true},
		"denied":          {of(ErrDenied, errors.New("no")), false},
		"unknown CA":      {of(ErrUnavailable, fmt.Errorf("tls: %w", x509.UnknownAuthorityError{})), false},
		"another name":    {of(ErrUnavailable, x509.HostnameError{Certificate: &x509.Certificate{}, Host: "a"}), false},
		"not in force":    {of(ErrUnavailable, x509.CertificateInvalidError{Reason: x509.Expired}), true},
		"for other usage": {of(ErrUnavailable, x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), false},
		"no error":        {nil, false},
	} {
		if got := Passing(c.err); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
