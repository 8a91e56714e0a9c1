package render

import (
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// rights adds who may do what to the options of our access controller.
func rights(auth config.Auth, options configuration.Parameters) {
	if auth.Anonymous != "none" {
		options["anonymous"] = auth.Anonymous
	}
	var members []map[string]any
	for _, u := range auth.Users {
		if len(u.Groups) > 0 {
			members = append(members, map[string]any{"user": u.Name, "groups": u.Groups})
		}
	}
	if members != nil {
		options["groups"] = members
	}
	var rules []map[string]any
	for _, r := range auth.ACL {
		rule := map[string]any{"repositories": r.Repositories, "actions": r.Actions}
		if len(r.Users) > 0 {
			rule["users"] = r.Users
		}
		if len(r.Groups) > 0 {
			rule["groups"] = r.Groups
		}
		if r.Anonymous {
			rule["anonymous"] = true
		}
		rules = append(rules, rule)
	}
	if rules != nil {
		options["acl"] = rules
	}
}

// writtenOnce adds which tags are written once.
func writtenOnce(given []config.Immutable, options configuration.Parameters) {
	var rules []map[string]any
	for _, r := range given {
		rule := map[string]any{"repositories": r.Repositories, "tags": r.Tags}
		if len(r.Except) > 0 {
			rule["except"] = r.Except
		}
		rules = append(rules, rule)
	}
	if rules != nil {
		options["immutable"] = rules
	}
}

// robots adds the robots of the configuration to the options of our access controller.
func robots(given []config.Robot, options configuration.Parameters) {
	var items []map[string]any
	for _, r := range given {
		item := map[string]any{"name": r.Name, "hash": r.TokenHash}
		if r.Expires != "" {
			item["expires"] = r.Robot().Expires.Format(time.RFC3339)
		}
		for key, list := range map[string][]string{"groups": r.Groups, "repositories": r.Repositories, "actions": r.Actions} {
			if len(list) > 0 {
				item[key] = list
			}
		}
		items = append(items, item)
	}
	if items != nil {
		options["robots"] = items
	}
}

// quotas adds what repositories may take.
func quotas(given []config.Quota, options configuration.Parameters) {
	var rules []map[string]any
	for _, q := range given {
		rules = append(rules, map[string]any{"repositories": q.Repositories, "size": config.Bytes(q.Size)})
	}
	if rules != nil {
		options["quotas"] = rules
	}
}

// trusts adds whose ID tokens log in to the options of our access controller. cas are PEM,
// one for each item.
func trusts(trust []config.Trust, cas [][]byte, options configuration.Parameters) {
	var items []map[string]any
	for i, t := range trust {
		item := map[string]any{"issuer": t.Issuer, "audience": t.Audience, "match": t.Match, "user": t.User}
		if len(t.Groups) > 0 {
			item["groups"] = t.Groups
		}
		if t.CABundle != "" && i < len(cas) {
			item["cabundle"] = string(cas[i])
		}
		items = append(items, item)
	}
	if items != nil {
		options["oidc"] = items
	}
}

// directory adds a directory whose users log in to the options of our access controller.
// Its password is a credential and not here.
func directory(l config.LDAP, cas []byte, options configuration.Parameters) {
	if len(l.Servers) == 0 {
		return
	}
	given := map[string]any{
		"servers": l.Servers, "starttls": l.StartTLS, "userbase": l.UserBase, "userattribute": l.UserAttribute,
		"groups": l.Groups, "timeout": l.Timeout.String(), "cache": l.Cache.String(),
	}
	for key, text := range map[string]string{"binddn": l.BindDN, "userfilter": l.UserFilter, "groupbase": l.GroupBase, "cabundle": string(cas)} {
		if text != "" {
			given[key] = text
		}
	}
	options["ldap"] = given
}
