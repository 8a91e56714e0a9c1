package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// explain says in one line what went wrong, and how to fix it where that is known. It
// quotes the CA's own message (RFC 8555, 6.7).
func explain(err error) error {
	if problem, ok := errors.AsType[acme.Problem](err); ok {
		return explainProblem(err, problem)
	}
	var unknown x509.UnknownAuthorityError
	var wrong *url.Error
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		return fmt.Errorf("the CA cannot be reached: %w (%s)", e, e.Key)
	}
	switch {
	case errors.As(err, &unknown):
		return errors.New("the CA's own server has a certificate of an unknown authority: put that authority's certificate into tls.acme.caBundle")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("the CA does not answer in time")
	case errors.As(err, &wrong):
		return fmt.Errorf("the CA cannot be reached at %s: %w", wrong.URL, wrong.Err)
	}
	return err
}

func explainProblem(err error, p acme.Problem) error {
	said := says(p)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && refused.dns:
		return fmt.Errorf("the CA could not find out that %s is this machine's: %s. It asks the public DNS for the TXT record of _acme-challenge.%s",
			refused.name, said, strings.TrimPrefix(refused.name, "*."))
	case errors.As(err, &refused):
		return fmt.Errorf("the CA could not find out that %s is this machine's: %s. It asks for http://%s/.well-known/acme-challenge/ on port 80, "+
			"which must reach this machine from where the CA is", refused.name, said, refused.name)
	case p.Type == acme.ProblemTypeRateLimited || p.Status == 429:
		return fmt.Errorf("the CA limits the rate: %s", said)
	case p.Type == acme.ProblemTypeExternalAccountRequired:
		return fmt.Errorf("the CA wants an external account binding: set tls.acme.eab to what it gave you (%s)", said)
	case isAccount(err):
		return fmt.Errorf("the CA refuses the account (tls.acme.email, tls.acme.eab): %s", said)
	case p.Type == acme.ProblemTypeRejectedIdentifier || p.Type == acme.ProblemTypeUnsupportedIdentifier:
		return fmt.Errorf("the CA gives no certificate for these names (hostname, aliases): %s", said)
	case p.Type == acme.ProblemTypeCAA:
		return fmt.Errorf("the names' CAA records do not permit this CA: %s", said)
	case p.Status >= 500:
		return fmt.Errorf("the CA has trouble of its own: %s", said)
	}
	return fmt.Errorf("the CA refuses the order: %s", said)
}

func isAccount(err error) bool {
	_, ok := errors.AsType[accountError](err)
	return ok
}

func says(p acme.Problem) string {
	parts := []string{p.Detail}
	for _, s := range p.Subproblems {
		parts = append(parts, s.Identifier.Value+": "+s.Detail)
	}
	kind := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	return strings.Join(strings.Fields(strings.Join(parts, "; ")), " ") + " (" + kind + ")"
}
