//go:build integration

package appliance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/system/imagestore"
)

// Tokens are made, listed and revoked; their text is nowhere on the machine.
func TestTokens(t *testing.T) {
	b := newBox(t)
	ctx := t.Context()
	inbox := filepath.Join(b.root, paths.AuditInbox)
	if err := os.MkdirAll(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.machine().CreateToken(ctx, robot.Robot{Name: "ci"}); err == nil || !strings.Contains(err.Error(), "no configuration is in force") {
		t.Errorf("on a machine without a configuration: %v", err)
	}
	b.userData(`redoubt:
  hostname: registry.example.com
  auth:
    robots: [{name: fixed, tokenHash: "` + robot.Hash("x") + `", expires: "2020-01-01"}]
    acl: [{groups: [builders], repositories: ["ci/**"], actions: [push]}]
`)
	b.mustApply()
	b.out.Reset()
	ci := robot.Robot{Name: "ci", Groups: []string{"builders"}, Repositories: []string{"ci/app"}, Actions: []acl.Action{acl.Push}, Expires: time.Now().Add(time.Hour).UTC()}
	text, err := b.machine().CreateToken(ctx, ci)
	if err != nil || !robot.IsText(text) || strings.Contains(b.out.String(), "no rule") {
		t.Fatalf("%v\n%s", err, &b.out)
	}
	if _, err := b.machine().CreateToken(ctx, robot.Robot{Name: "more", Repositories: []string{"ci/app", "team/**"}, Actions: []acl.Action{acl.Pull}}); err != nil || !strings.Contains(b.out.String(), "no rule of auth.acl lets robot:more pull all of team/**") {
		t.Errorf("one that no rule is for: %v\n%s", err, &b.out)
	}
	for name, want := range map[string]string{"ci": "there is a robot ci", "fixed": "auth.robots has a robot fixed"} {
		if _, err := b.machine().CreateToken(ctx, robot.Robot{Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a second one: %v", err)
		}
	}
	const file = "var/lib/redoubt/tokens/robots"
	if kept := b.get(file); !strings.Contains(kept, robot.Hash(text)) || strings.Contains(kept, text) {
		t.Errorf("kept is\n%s", kept)
	}
	if info, err := os.Stat(filepath.Join(b.root, file)); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	finder := imagestore.Finder{Registry: filepath.Join(b.root, "run/redoubt/registry.yml")}
	list, err := b.machine().Tokens(ctx, finder)
	if err != nil || len(list) != 3 || list[0].Name != "ci" || list[0].Expired || list[0].By == "" || !list[1].Configured || !list[1].Expired || !list[2].Used.IsZero() {
		t.Errorf("%v %+v", err, list)
	}
	for name, want := range map[string]string{"fixed": "remove it from auth.robots", "nobody": "there is no robot", text: "there is no robot"} {
		if err := b.machine().RevokeToken(ctx, name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), text) {
			t.Errorf("revoking %s: %v", name, err)
		}
	}
	if err := b.machine().RevokeToken(ctx, "ci"); err != nil || strings.Contains(b.get(file), robot.Hash(text)) {
		t.Errorf("%v\n%s", err, b.get(file))
	}
	if _, err := b.machine().CreateToken(ctx, ci); err != nil {
		t.Errorf("again: %v", err)
	}
	events := b.out.String()
	notes, err := filepath.Glob(filepath.Join(inbox, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range notes {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		events += string(data)
	}
	for _, want := range []string{
		`"action":"token.create","result":"ok","user":"` + appliance.Person() + `","proof":"local","detail":"ci: ci/app, push, `,
		`"action":"token.create","result":"failed"`,
		`"action":"token.revoke","result":"ok","user":"` + appliance.Person() + `","proof":"local","detail":"ci"`,
	} {
		if !strings.Contains(events, want) {
			t.Errorf("the audit log has no %s:\n%s", want, events)
		}
	}
	if strings.Contains(events, text) {
		t.Error("the token is in the log")
	}
	b.put(file, "damaged")
	if err := b.machine().RevokeToken(ctx, "ci"); err == nil || !strings.Contains(err.Error(), "damaged") || b.get(file) != "damaged" {
		t.Errorf("of a damaged list: %v", err)
	}
}
