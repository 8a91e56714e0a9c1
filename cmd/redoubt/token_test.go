package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// runToken runs redoubt token.
func runToken(arguments ...string) (stdout, stderr string, err error) {
	cmd := rootCommand()
	var out, log bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&log)
	cmd.SetArgs(append([]string{"token"}, arguments...))
	err = cmd.Execute()
	return out.String(), log.String(), err
}

// The item that is printed for auth.robots is the token's.
func TestTokenHash(t *testing.T) {
	text, item, err := runToken("create", "ci", "--hash", "--repositories", "team/**,app", "--actions", "pull,push", "--groups", "builders", "--expires", "90d")
	text = strings.TrimSpace(text)
	if err != nil || !robot.IsText(text) || strings.Contains(item, text) {
		t.Fatalf("%v %q\n%s", err, text, item)
	}
	document := "redoubt:\n  hostname: registry.example.com\n  auth:\n    robots:\n      " + item
	cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte(document)}})
	if len(report) > 0 {
		t.Fatalf("%v", report)
	}
	r := cfg.Auth.Robots[0].Robot()
	if r.Name != "ci" || r.Hash != robot.Hash(text) || r.Where() != "team/** app" || r.What() != "pull push" || r.Groups[0] != "builders" {
		t.Errorf("%+v", r)
	}
	if left := time.Until(r.Expires); left < 89*24*time.Hour || left > 90*24*time.Hour {
		t.Errorf("it ends at %v", r.Expires)
	}
}

func TestTokenMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ arguments, want string }{
		{"ci", `required flag(s) "repositories" not set`},
		{"robot:ci --repositories **", "cannot use this name of a robot"},
		{"ci --repositories Team", "has capital letters"},
		{"ci --repositories ** --actions write", `cannot use the action "write"`},
		{"ci --repositories ** --actions=", "cannot make a token for nothing"},
		{"ci --repositories=", "cannot make a token for nothing"},
		{"ci --repositories ** --groups *", "no group's name"},
		{"ci --repositories ** --expires 2020-01-01", "would have ended already"},
		{"ci --repositories ** --expires -1h", "would have ended already"},
		{"ci --repositories ** --expires 90", "a time such as 90d"},
		{"ci --repositories ** --expires 9999d", "at most 3650 days"},
		{"ci cd --repositories **", "accepts 1 arg"},
	} {
		out, _, err := runToken(append([]string{"create", "--hash"}, strings.Fields(c.arguments)...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || out != "" {
			t.Errorf("%s: %v %s", c.arguments, err, out)
		}
	}
}

func TestTokenTable(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	if err := printTokens(&out, []appliance.Token{
		{Robot: robot.Robot{Name: "ci", Repositories: []string{"team/**"}, Actions: []acl.Action{acl.Push}, Expires: at.AddDate(1, 0, 0), Created: at, By: "carol"}, Used: at.Add(time.Hour)},
		{Robot: robot.Robot{Name: "old", Groups: []string{"builders"}, Expires: at}, Configured: true, Expired: true},
	}); err != nil {
		t.Fatal(err)
	}
	want := `NAME  REPOSITORIES      ACTIONS      GROUPS    EXPIRES                       LAST USED             MADE
ci    team/**           push         -         2027-05-01T08:00:00Z          2026-05-01T09:00:00Z  2026-05-01T08:00:00Z by carol
old   all repositories  all actions  builders  expired 2026-05-01T08:00:00Z  -                     auth.robots
`
	if out.String() != want {
		t.Errorf("\n%s", out.String())
	}
}
