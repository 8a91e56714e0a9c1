package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

func TestChanges(t *testing.T) {
	parse := func(text string) config.Config {
		t.Helper()
		cfg, _, report := config.Parse([]config.Layer{{Name: "test", Data: []byte(text)}})
		if err := report.Err(); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	before := parse(`redoubt:
  hostname: registry.example.com
  aliases: [one.example.com, two.example.com]
  auth: {users: [{name: alice, password: hunter2hunter2}, {name: bob, password: hunter3hunter3}]}
`)
	after := parse(`redoubt:
  hostname: registry.example.com
  aliases: [one.example.com]
  log: {level: debug}
  auth: {users: [{name: carol, password: hunter4hunter4}, {name: alice, password: hunter5hunter5}]}
`)
	var got strings.Builder
	for _, c := range after.Changes(before) {
		fmt.Fprintf(&got, "%s: %q → %q\n", c.Path, c.Before, c.After)
	}
	if n := len(before.Changes(before)); n != 0 {
		t.Errorf("%d changes from itself to itself", n)
	}
	for _, want := range []string{
		`log.level: "info" → "debug"`,
		`auth.users[carol].name: "" → "carol"`,
		`auth.users[carol].password: "" → "<redacted>"`,
		`auth.users[alice].password: "<redacted>" → "<redacted>"`,
		`auth.users[bob].name: "bob" → ""`,
		`aliases[1]: "two.example.com" → ""`,
	} {
		if !strings.Contains(got.String(), want+"\n") {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(got.String(), "hunter") {
		t.Error("a password is shown")
	}
	if t.Failed() {
		t.Log(got.String())
	}
}
