package clients

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// Users says which certificate is which user's.
type Users []mapping

type mapping struct {
	match cert.Pattern
	user  string
}

// ParseUsers reads the option clientcertificates of distribution's auth section:
// a list of match and user.
func ParseUsers(option any) (Users, error) {
	if option == nil {
		return nil, nil
	}
	items, ok := option.([]any)
	if !ok {
		return nil, errors.New("clientcertificates must be a list of match and user")
	}
	var users Users
	for i, item := range items {
		match, user := text(item, "match"), text(item, "user")
		pattern, err := cert.ParsePattern(match)
		if err == nil && user == "" {
			err = errors.New("user must be set")
		}
		if err != nil {
			return nil, fmt.Errorf("clientcertificates[%d]: %w", i, err)
		}
		users = append(users, mapping{pattern, user})
	}
	return users, nil
}

// text is a value of a mapping as yaml makes it.
func text(item any, key string) string {
	switch m := item.(type) {
	case map[any]any:
		s, _ := m[key].(string) // anything else is refused as empty
		return s
	case map[string]any:
		s, _ := m[key].(string)
		return s
	}
	return ""
}

// Of is the user of a certificate that was verified, by the first pattern that
// matches, or empty.
func (u Users) Of(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	for _, m := range u {
		if m.match.Match(c.Subject) {
			return m.user
		}
	}
	return ""
}

type userKey struct{}

// WithUser returns a context of a request whose certificate logs user in.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User is the user whom the certificate logs in, or empty.
func User(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}
