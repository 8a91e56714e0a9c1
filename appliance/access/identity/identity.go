// Package identity carries who a request turned out to come from, from where that
// is proven to where it is written down: what a request claims is no name.
package identity

import "context"

type key struct{}

// Proof is how a client proved who it is. The words are in the audit log.
type Proof string

// The ways to prove it.
const (
	None        Proof = ""            // not yet
	Anonymous   Proof = "anonymous"   // nothing was asked for
	Password    Proof = "password"    // of a local user
	Certificate Proof = "certificate" // of a client
	Token       Proof = "token"       // a short one, given for one of the others
	Robot       Proof = "robot"       // a robot's
	OIDC        Proof = "oidc"        // an issuer's ID token
	LDAP        Proof = "ldap"        // a password that a directory checked
)

// Identity is who has been proven to send one request. The zero value is a
// stranger. It belongs to the goroutine of its request.
type Identity struct {
	user    string
	proof   Proof
	claimed string // of credentials that were refused
	refused bool
}

// With returns a context for a request, and the identity that Prove sets in it.
func With(ctx context.Context) (context.Context, *Identity) {
	i := &Identity{}
	return context.WithValue(ctx, key{}, i), i
}

// Prove notes that user sends the request of ctx, and how that was proven. Call it when
// a password, a token or a certificate was right. Without With it does nothing.
func Prove(ctx context.Context, user string, proof Proof) {
	if i := Of(ctx); i != nil {
		i.user, i.proof, i.refused = user, proof, false
	}
}

// Refuse notes that the request of ctx has credentials of a kind that were wrong, or were
// not checked because there were too many. user is whose they claim to be if there is
// such a user, else empty: an unknown name may be a password typed in the wrong place.
func Refuse(ctx context.Context, user string, proof Proof) {
	if i := Of(ctx); i != nil && i.user == "" {
		i.proof, i.refused, i.claimed = proof, true, user
	}
}

// Of returns the identity of the request of ctx, or nil without With.
func Of(ctx context.Context) *Identity {
	i, _ := ctx.Value(key{}).(*Identity)
	return i
}

// User is the name that was proven, or empty for a stranger.
func (i *Identity) User() string {
	if i == nil {
		return ""
	}
	return i.user
}

// Proof is how the name was proven, or would have been where it was refused.
func (i *Identity) Proof() Proof {
	if i == nil {
		return None
	}
	return i.proof
}

// Refused says whether credentials were refused, and of which known user.
func (i *Identity) Refused() (user string, refused bool) {
	if i == nil {
		return "", false
	}
	return i.claimed, i.refused
}
