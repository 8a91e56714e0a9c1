package registry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/distribution/distribution/v3/registry/auth"
	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/immutable"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// rights are who may do what in one generation.
type rights struct {
	policy *acl.Policy
	groups map[string][]string // of users

	immutable immutable.Rules
}

// isAdmin tells whether the client of a request may do all with a repository.
func (a *rights) isAdmin(r *http.Request, repository string) bool {
	if a == nil {
		return true
	}
	who, err := a.who(r)
	return err == nil && a.allows(who, acl.Admin, repository)
}

// rightsOptions are the options of our access controller that say who may do what.
// Distribution's own words have none for it.
type rightsOptions struct {
	Anonymous string
	Groups    []struct {
		User   string
		Groups []string
	}
	ACL []struct {
		Users        []string
		Groups       []string
		Anonymous    bool
		Repositories []string
		Actions      []acl.Action
	}
	Immutable []immutable.Rule
}

// takeRights reads who may do what. What cannot be read is refused: fewer rules could
// allow more.
func (g *generation) takeRights(s *server, old *generation) error {
	if g.table == nil {
		return nil
	}
	given := map[string]any{}
	for _, name := range []string{"anonymous", "groups", "acl", "immutable"} {
		given[name] = g.config.Auth.Parameters()[name]
	}
	var options rightsOptions
	data, err := yaml.Marshal(given)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &options)
	}
	if err != nil {
		return fmt.Errorf("cannot use auth: the rules cannot be read: %w", err)
	}
	if !slices.Contains([]string{"", "none", "pull"}, options.Anonymous) {
		return errors.New("cannot use auth: anonymous must be none or pull")
	}
	var rules []acl.Rule
	for _, r := range options.ACL {
		rules = append(rules, acl.Rule(r))
	}
	if given["acl"] != nil && len(rules) == 0 {
		return errors.New("cannot use auth: acl must have rules, or be left out")
	}
	policy, err := acl.New(options.Anonymous == "pull", rules)
	if err != nil {
		return fmt.Errorf("cannot use auth: %w", err)
	}
	g.rights = &rights{policy: policy, groups: map[string][]string{}}
	if g.rights.immutable, err = immutable.New(options.Immutable); err != nil {
		return fmt.Errorf("cannot use auth: %w", err)
	}
	for _, m := range options.Groups {
		g.rights.groups[m.User] = append(g.rights.groups[m.User], m.Groups...)
	}
	return errors.Join(g.openKeys(s), g.takeSources(s, old))
}

// who is the login of a request; the error is that of users.Of.
func (a *rights) who(r *http.Request) (users.Proven, error) {
	p, err := users.Proof(r.Context())
	if groups := a.groups[p.User]; p.User != "" && len(groups) > 0 {
		p.Groups = slices.Concat(p.Groups, groups)
	}
	return p, err
}

// allows says whether a login may do something, by the rules and by what it is for. An
// access token is another question.
func (a *rights) allows(p users.Proven, action acl.Action, repository string) bool {
	return a.policy.Decide(p.Who, action, repository).Allowed && p.May(action, repository)
}

// mayPull says which repositories the client of a request may pull from; nil is all. What
// an access token is for counts only where something is mounted from another repository.
func (a *rights) mayPull(r *http.Request) func(string) bool {
	p, _ := a.who(r) // who is not logged in is nobody
	mounts := p.Bearer && (r.Method == http.MethodPost || r.Method == http.MethodPut)
	if !a.policy.Limits() && p.Within == nil && !mounts {
		return nil
	}
	return func(repository string) bool {
		return a.allows(p, acl.Pull, repository) && (!mounts || granted(p.Grants, repositoryScope, repository, acl.Pull))
	}
}

// permit decides whether a request may be done. It returns nil where it has answered.
// What is refused is refused whether it exists or not.
func (g *generation) permit(w http.ResponseWriter, r *http.Request, q route.Request, refusal *route.Refusal) *http.Request {
	if g.rights == nil {
		return r
	}
	p, err := g.rights.who(r)
	stranger := err != nil
	action := wanted(r.Method, q.Kind)
	switch {
	case stranger && refusal != nil && !g.rights.policy.Anonymous():
		return r // to where a login is asked for
	case stranger && (!g.rights.policy.Anonymous() || !errors.Is(err, auth.ErrInvalidCredential) || q.Kind == route.Base):
		// Docker sends its password only to a registry that asks for one at /v2/.
		g.askForLogin(w, r, q, action, err)
		return nil
	case refusal != nil || q.Kind == route.Base:
	case q.Kind != route.Catalog && !g.rights.allows(p, action, q.Name):
		if stranger {
			g.askForLogin(w, r, q, action, err)
			return nil
		}
		page.Refused(w, http.StatusForbidden, fmt.Sprintf("%s may not %s here: %s", p.User, action, why(p, action, q.Name)))
		return nil
	case p.Bearer && !grantedTo(p.Grants, q, action):
		g.askForLogin(w, r, q, action, errScope)
		return nil
	}
	if stranger {
		return users.Admit(r)
	}
	return r
}

// why is the reason that a login may not do something.
func why(p users.Proven, action acl.Action, repository string) string {
	if !p.May(action, repository) {
		return "its token is for other repositories or actions"
	}
	return "no rule of the registry allows it"
}

// wanted is what a request does with its repository. Whoever may push may also end what he
// began.
func wanted(method string, kind route.Kind) acl.Action {
	switch {
	case kind == route.Upload:
		return acl.Push
	case method == http.MethodDelete:
		return acl.Delete
	case method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions:
		return acl.Pull
	}
	return acl.Push
}
