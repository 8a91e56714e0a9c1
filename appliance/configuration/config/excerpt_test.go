package config

import (
	"strings"
	"testing"
)

func TestExcerpt(t *testing.T) {
	for _, c := range []struct {
		line, path, message, want string
		column                    int
	}{
		{"  tls: {mod: acme}", "tls.mod", "unknown key", "  tls: {mod: •••}\n        ^^^", 9},
		{"  tls: {mode: acmee} # why", "tls.mode", "must be one of acme | files", "  tls: {mode: acmee} # •••\n              ^^^^^", 15},
		{"  tls: {mode: qXvTzRk}", "tls.mode", "must be one of acme | files", "  tls: {mode: •••}\n              ^^^", 15},
		{"  nodes: 0", "nodes", "must be from 1 to 100", "  nodes: 0\n         ^", 10},
		{"  nodes: 123456789", "nodes", "must be from 1 to 100", "  nodes: •••\n         ^^^", 10},
		{"  httpSecret: 12345", "httpSecret", "must be text", "  httpSecret: •••\n              ^^^", 15},
		{"  s3: {bucket: b, accessKey, hunter, region: r}", "storage.s3", hiddenKey, "  s3: {bucket: •••, accessKey, •••, region: •••}\n                               ^^^", 30},
		{"    secretKey: abc{d,e: f", "storage.s3.secretKey", "must be text", "    secretKey: •••: •••\n               ^^^", 16},
		{"  - name: \"a b\"", "auth.users[0].name", "must be a name", "  - name: •••\n          ^^^", 11},
		{"\thttpSecret: x", "", "a tab indents this line", " httpSecret: •••\n^", 1},
		{"hunter", "", "not valid YAML", "•••\n^^^", 1},
		{"  \"key\": x", "key", "unknown key", "  •••: •••\n  ^^^", 3},
		{"  aliases: [a, b", "", "not valid YAML", "  aliases: [•••, •••\n                    ^", 40},
		{"  ключ: x", "", hiddenKey, "  •••: •••\n  ^^^", 3},
	} {
		e := Entry{File: "f", Line: 1, Column: c.column, Path: c.path, Message: c.message}
		e.Excerpt = excerpt(c.line, e)
		lines := e.Excerpt.Text + "\n"
		for range e.Excerpt.Column - 1 {
			lines += " "
		}
		for range e.Excerpt.Width {
			lines += "^"
		}
		if lines != c.want {
			t.Errorf("%q:\ngot\n%s\nwant\n%s", c.line, lines, c.want)
		}
	}
}

func TestShowMarksThePlace(t *testing.T) {
	_, _, report := Parse([]Layer{{Name: "user-data", Data: []byte("redoubt:\n  hostname: a.example\n  tls: {mode: acmee} # hunter2\n")}})
	if got, want := report.Errors().Show(Colors{}), `user-data:3:15: tls.mode: must be one of internal-ca | acme | files | off (did you mean "acme"?)
    3 |   tls: {mode: acmee} # •••
      |               ^^^^^
`; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	colors := Colors{Bold: "<b>", Mark: "<m>", End: "</>"}
	if got, want := report.Errors().Show(colors), "<b>user-data:3:15: tls.mode: must be one of internal-ca | acme | files | off (did you mean \"acme\"?)</>\n"+
		"    3 |   tls: {mode: acmee} # •••\n      |               <m>^^^^^</>\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A document on one line is cut around the mistake.
func TestExcerptOfALongLine(t *testing.T) {
	line := "redoubt: {hostname: a.example, " + strings.Repeat("nodes: 1, ", 30) + "tls: {mode: acmee}, " + strings.Repeat("nodes: 1, ", 30) + "}"
	at := strings.Index(line, "acmee") + 1
	x := excerpt(line, Entry{Column: at, Path: "tls.mode", Message: "must be one of acme"})
	runes := []rune(x.Text)
	if got := string(runes[x.Column-1 : x.Column-1+x.Width]); got != "acmee" || len(runes) > widest+2 {
		t.Errorf("%q in %q", got, x.Text)
	}
}
