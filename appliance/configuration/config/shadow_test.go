package config

import (
	"strings"
	"testing"
)

// TestShadowed compares items by their names: another number is no other item, and
// what an upper layer adds or removes hides nothing.
func TestShadowed(t *testing.T) {
	const hash = `"$2y$10$Wq4kTk0zzXvwCDDpRv7oL.Z8rvQsMRJFLJcPF6uOOsmVrzXmhjTGS"`
	layers := []Layer{
		{Name: "/usr/lib/a.yaml", Data: []byte("log: {format: text}\n")},
		{Name: "user-data", Data: []byte("hostname: a.example.com\nlog: {level: info}\nauth:\n  users:\n" +
			"    - {name: alice, passwordHash: " + hash + "}\n    - {name: bob, passwordHash: " + hash + "}\n" +
			"    - {name: carol, password: secretvalue}\n")},
		{Name: "/etc/redoubt/config.yaml", Data: []byte("log: {level: debug, format: json}\nauth:\n  users:\n" +
			"    - {name: alice, remove: true}\n    - {name: david, passwordHash: " + hash + "}\n" +
			"    - {name: bob, passwordHash: " + hash + "}\n    - {name: carol, passwordHash: " + hash + "}\n")},
	}
	above := func(name string) bool { return strings.HasPrefix(name, "/etc/") }
	quiet := func(name string) bool { return strings.HasPrefix(name, "/usr/") }
	want := `/etc/redoubt/config.yaml:1:14: log.level: warning: this is used, and not what user-data:2 says
/etc/redoubt/config.yaml:6:33: auth.users[2].passwordHash: warning: this is used, and not what user-data:6 says
/etc/redoubt/config.yaml:7:35: auth.users[3].passwordHash: warning: this is used, and not what user-data:7 says
`
	if got := Shadowed(layers, above, quiet).String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if got := Shadowed(layers[:2], above, quiet); got != nil {
		t.Error(got)
	}
}
