package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
)

// pause is how long a server that failed is asked only after the others.
const pause = 10 * time.Second

// ask asks the servers in turn, until one says whether the login is right, or without a
// password whether there is such a user.
func (d *Directory) ask(name string, password *string) (acl.Who, error) {
	var last error
	for _, failed := range []bool{false, true} {
		for i, server := range d.Servers {
			since := d.now().UnixNano() - d.down[i].Load()
			if failed != (since >= 0 && since < int64(pause)) {
				continue
			}
			who, err := d.askAt(server, name, password)
			if err == nil || errors.Is(err, users.ErrRefused) {
				d.down[i].Store(0)
				d.note(nil)
				return who, err
			}
			d.down[i].Store(d.now().UnixNano())
			last = fmt.Errorf("%s: %w", server, err)
		}
		if failed || last != nil && d.allDown() {
			break
		}
	}
	d.note(last)
	return acl.Who{}, &Unavailable{last}
}

// allDown says whether every server has just failed, so that a second look is no use.
func (d *Directory) allDown() bool {
	for i := range d.down {
		if d.down[i].Load() == 0 {
			return false
		}
	}
	return true
}

// askAt asks one server, within the timeout.
func (d *Directory) askAt(server, name string, password *string) (acl.Who, error) {
	conn, err := d.connect(server)
	if err != nil {
		return acl.Who{}, err
	}
	defer conn.Close()
	overall := time.AfterFunc(d.Timeout, func() { conn.Close() })
	defer overall.Stop()
	if err := d.search(conn); err != nil {
		return acl.Who{}, err
	}
	found, err := conn.Search(ldap.NewSearchRequest(d.UserBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, d.seconds(), false,
		d.filter(name), []string{d.UserAttribute, "memberOf"}, nil))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) || err == nil && len(found.Entries) > 1:
		return acl.Who{}, fmt.Errorf("%w: the directory has more than one such user", users.ErrRefused)
	case err != nil:
		return acl.Who{}, cause("search for users", err)
	case len(found.Entries) == 0:
		return acl.Who{}, users.ErrRefused
	}
	entry := found.Entries[0]
	who := acl.Who{User: entry.GetAttributeValue(d.UserAttribute)} // as the directory writes it
	if problem(who.User) || !strings.EqualFold(who.User, name) || entry.DN == "" {
		return acl.Who{}, users.ErrRefused
	}
	if password != nil {
		if err := conn.Bind(entry.DN, *password); err != nil {
			return acl.Who{}, refusal(err)
		}
		if err := d.search(conn); err != nil {
			return acl.Who{}, err
		}
	}
	who.Groups, err = d.groups(conn, entry)
	return who, err
}

func (d *Directory) seconds() int { return max(1, int(d.Timeout.Seconds())) }

// connect connects to a server, with TLS unless it is on this machine.
func (d *Directory) connect(server string) (*ldap.Conn, error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	config := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if d.CABundle != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(d.CABundle)
	}
	conn, err := ldap.DialURL(server, ldap.DialWithDialer(&net.Dialer{Timeout: d.Timeout}), ldap.DialWithTLSConfig(config))
	if err != nil {
		return nil, cause("connect", err)
	}
	conn.SetTimeout(d.Timeout)
	if u.Scheme == "ldap" && d.StartTLS {
		if err := conn.StartTLS(config); err != nil {
			conn.Close()
			return nil, cause("begin TLS", err)
		}
	}
	return conn, nil
}

// search makes the connection one of whoever may search.
func (d *Directory) search(conn *ldap.Conn) error {
	if d.BindDN == "" {
		if err := conn.UnauthenticatedBind(""); err != nil {
			return cause("search without a login (bindDN)", err)
		}
		return nil
	}
	if err := conn.Bind(d.BindDN, d.Password); err != nil {
		return cause("log in with bindDN and its password", err)
	}
	return nil
}

// filter finds one user. What a client calls itself cannot change it (RFC 4515, 3).
func (d *Directory) filter(name string) string {
	own := "(" + d.UserAttribute + "=" + ldap.EscapeFilter(name) + ")"
	if d.UserFilter == "" {
		return own
	}
	return "(&" + d.UserFilter + own + ")"
}

// refusal is what an answer to the user's own login means.
func refusal(err error) error {
	for _, code := range []uint16{ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultUnwillingToPerform,
		ldap.LDAPResultConstraintViolation, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultNoSuchObject} {
		if ldap.IsErrorWithCode(err, code) {
			return users.ErrRefused
		}
	}
	return cause("check the password", err)
}

// cause is what could not be done, and the code of the answer: the rest of it is the
// directory's to choose.
func cause(what string, err error) error {
	if e, ok := errors.AsType[*ldap.Error](err); ok {
		text := ldap.LDAPResultCodeMap[e.ResultCode]
		if e.ResultCode == ldap.ErrorNetwork && e.Err != nil {
			text = e.Err.Error()
		}
		return fmt.Errorf("cannot %s: %s", what, text)
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}
