package clients

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

// Users says which certificate is which user's.
type Users []mapping

type mapping struct {
	match cert.Pattern
	who   acl.Who
}

// ParseUsers reads the option clientcertificates of distribution's auth section:
// a list of match, user and groups, which may be left out.
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
		in, groupsErr := groups(item)
		if err == nil {
			err = groupsErr
		}
		if err != nil {
			return nil, fmt.Errorf("clientcertificates[%d]: %w", i, err)
		}
		users = append(users, mapping{pattern, acl.Who{User: user, Groups: in}})
	}
	return users, nil
}

// text is a value of a mapping as yaml makes it.
func text(item any, key string) string {
	s, _ := value(item, key).(string) // anything else is refused as empty
	return s
}

func value(item any, key string) any {
	switch m := item.(type) {
	case map[any]any:
		return m[key]
	case map[string]any:
		return m[key]
	}
	return nil
}

func groups(item any) ([]string, error) {
	given := value(item, "groups")
	list, ok := given.([]any)
	var out []string
	for _, name := range list {
		group, isText := name.(string)
		ok = ok && isText && group != ""
		out = append(out, group)
	}
	if given != nil && !ok {
		return nil, errors.New("groups must be a list of names")
	}
	return out, nil
}

// Of is the login of a certificate that was verified, by the first pattern that
// matches, or that of nobody.
func (u Users) Of(c *x509.Certificate) acl.Who {
	if c == nil {
		return acl.Who{}
	}
	for _, m := range u {
		if m.match.Match(c.Subject) {
			return m.who
		}
	}
	return acl.Who{}
}

type whoKey struct{}

// With returns a context of a request whose certificate logs somebody in.
func With(ctx context.Context, who acl.Who) context.Context {
	return context.WithValue(ctx, whoKey{}, who)
}

// Who is whom the certificate logs in, or nobody.
func Who(ctx context.Context) acl.Who {
	who, _ := ctx.Value(whoKey{}).(acl.Who)
	return who
}
