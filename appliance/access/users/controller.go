package users

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/distribution/distribution/v3/registry/auth"
)

// Name is what the access controller is called in distribution's auth section.
const Name = "redoubt"

// TableOption is the option through which a *Table is handed to the
// controller. It is never in a file: it carries the table, and with it the
// logins already checked, over from one configuration to the next.
const TableOption = "table"

type controller struct {
	realm string
	table *Table
}

// Register makes the controller known to distribution. It may be called more
// than once. The name htpasswd is taken as well: upstream's own is not linked,
// since it invents a user where the file is missing.
func Register() {
	for _, name := range []string{Name, "htpasswd"} {
		_ = auth.Register(name, newController) // fails only when it is there already
	}
}

// Path returns the htpasswd file that options name.
func Path(options map[string]any) (string, error) {
	path, ok := options["path"].(string)
	if !ok || path == "" {
		return "", errors.New("cannot use auth: path must name the htpasswd file")
	}
	return path, nil
}

func newController(options map[string]any) (auth.AccessController, error) {
	realm, ok := options["realm"].(string)
	if !ok || realm == "" {
		return nil, errors.New("cannot use auth: realm must be set")
	}
	table, ok := options[TableOption].(*Table)
	if !ok {
		return nil, errors.New("cannot use auth: it was given no table of users")
	}
	return &controller{realm: realm, table: table}, nil
}

// Authorized implements auth.AccessController: who is logged in, or admitted, passes. What
// a login may do is decided before the request comes here.
func (c *controller) Authorized(r *http.Request, _ ...auth.Access) (*auth.Grant, error) {
	l, ok := r.Context().Value(loginKey{}).(login)
	if !ok {
		l = c.table.login(r, nil, nil)
	}
	if l.err != nil {
		return nil, &challenge{realm: c.realm, err: l.err}
	}
	return &auth.Grant{User: auth.UserInfo{Name: l.User}}, nil
}

// challenge asks for a login, RFC 7617.
type challenge struct {
	realm string
	err   error
}

func (c *challenge) Error() string { return c.err.Error() }

func (c *challenge) SetHeaders(_ *http.Request, w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", c.realm))
}
