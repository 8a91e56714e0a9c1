package userdata

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const (
	someHash = "$2y$10$Wq4kTk0zzXvwCDDpRv7oL.Z8rvQsMRJFLJcPF6uOOsmVrzXmhjTGS"
	aliceHas = "redoubt:\n  hostname: a.example.com\n  aliases: [one.example.com]\n" +
		"  auth: {realm: First, users: [{name: alice, passwordHash: \"" + someHash + "\"}]}\n"
	bobHas = "redoubt:\n  aliases: [two.example.com]\n" +
		"  auth: {realm: Second, users: [{name: bob, passwordHash: \"" + someHash + "\"}]}\n"
)

// TestMergeTypes merges two parts as cloud-init is told to, by a header or by a key.
// Users merge by their names in any case; what cannot be done is an error.
func TestMergeTypes(t *testing.T) {
	const own = "[alice bob] Second [two.example.com]"
	for how, want := range map[string]string{
		"":                                       own,
		"dict(replace)+list()+str()":             own,
		"dict(replace)+list(append)":             own,
		"list()+dict()+str()":                    "[alice bob] First [one.example.com]",
		"dict(recurse_dict)":                     "[alice bob] First [one.example.com]",
		"dict(no_replace)+list(append)":          "[alice bob] First [one.example.com]",
		"list(append)+dict(recurse_array)+str()": "[alice bob] First [one.example.com two.example.com]",
		"list(append)+dict(no_replace,recurse_list)+str()": "[alice bob] First [one.example.com two.example.com]",
		"dict(recurse_list) + list(prepend)":               "[alice bob] First [two.example.com one.example.com]",
		"dict(recurse-list)+list(no-replace)":              "[alice bob] First [one.example.com]",
		"dict(recurse_list)+list()":                        "this merge type cannot be done here",
		"dict(recurse_list)+list(append)+str(append)":      "this merge type cannot be done here: of str() there are replace",
		"dict(recurse_str)":                                "this merge type cannot be done here",
		"set(union)":                                       "not a merge type of cloud-init",
		"append":                                           "not a merge type of cloud-init",
	} {
		key := bobHas
		if how != "" {
			key = fmt.Sprintf("merge_how: %q\n", how) + bobHas
		}
		for form, message := range map[string]string{
			"header": mixed("Content-Type: text/cloud-config\n\n"+aliceHas, "Content-Type: text/cloud-config\nMerge-Type: "+how+"\n\n"+bobHas),
			"X-":     mixed("Content-Type: text/cloud-config\n\n"+aliceHas, "Content-Type: text/cloud-config\nX-Merge-Type: "+how+"\n\n"+bobHas),
			"key":    mixed("Content-Type: text/cloud-config\n\n"+aliceHas, "Content-Type: text/cloud-config\n\n"+key),
		} {
			below := config.Layer{Name: "vendor-data", Data: []byte("#cloud-config\nredoubt: {hostname: v.example.com, aliases: [v1.example.com], auth: {realm: Vendor}}\n")}
			cfg, _, report := config.Parse(append([]config.Layer{below}, Decode("user-data", []byte(message)).Layers...))
			var names []string
			for _, u := range cfg.Auth.Users {
				names = append(names, u.Name)
			}
			got := fmt.Sprintf("%v %s %v", names, cfg.Auth.Realm, cfg.Aliases)
			if report.Err() != nil {
				got = report.Errors().String()
			}
			if got != want && (report.Err() == nil || !strings.Contains(got, want) || !strings.HasPrefix(got, "user-data part 2")) {
				t.Errorf("%s %q:\ngot  %s\nwant %s", form, how, got, want)
			}
			if cfg.Hostname != "a.example.com" { // the cloud's own document is another source
				t.Errorf("%s %q: hostname %s", form, how, cfg.Hostname)
			}
		}
	}
}

// TestMergeTypeAsAList reads the key in the two other forms that cloud-init takes.
func TestMergeTypeAsAList(t *testing.T) {
	for _, how := range []string{
		"merge_how:\n- {name: list, settings: [append]}\n- {name: dict, settings: [no_replace, recurse_list]}\n",
		"merge_type:\n- [list, append]\n- [dict, recurse_list]\n- [str]\n",
	} {
		parts := mixed("Content-Type: text/cloud-config\n\n"+aliceHas, "Content-Type: text/cloud-config\n\n"+how+bobHas)
		cfg, _, report := config.Parse(Decode("user-data", []byte(parts)).Layers)
		if report.Err() != nil || cfg.Auth.Realm != "First" || len(cfg.Aliases) != 2 || len(cfg.Auth.Users) != 2 {
			t.Errorf("%s%+v %v %s", how, cfg.Auth, cfg.Aliases, report)
		}
	}
	// A document that has nothing before it is merged with nothing.
	alone := "#cloud-config\nmerge_how: \"str(append)\"\n" + aliceHas
	if _, _, report := config.Parse(Decode("user-data", []byte(alone)).Layers); report.Err() != nil {
		t.Error(report)
	}
}
