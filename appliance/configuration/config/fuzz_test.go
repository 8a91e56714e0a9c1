package config

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzParse feeds documents to Parse. Whatever they hold: each message points
// into the document and quotes no marked secret, and what is valid is the same
// when its document is read again.
func FuzzParse(f *testing.F) {
	everyCase(f, func(_ string, c testCase) {
		for _, l := range c.layers {
			f.Add(l.Data)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, origins, report := Parse([]Layer{{Name: "user-data", Data: data}})
		lines := breaks.Split(string(data), -1)
		for _, e := range report {
			if e.Line < 0 || e.Line > len(lines) || e.Line > 0 && (e.Column < 1 || e.Column > len(lines[e.Line-1])+1) {
				t.Errorf("outside of the document's %d lines: %s", len(lines), e)
			}
		}
		if strings.Contains(report.String(), "secretvalue") && !secretAsKey(report) {
			t.Errorf("a secret in: %s", report)
		}
		shown, err := cfg.Show(origins)
		if err != nil {
			t.Fatal(err)
		}
		if report.Err() != nil {
			return
		}
		for _, u := range cfg.Auth.Users {
			if literal, ok := u.Password.literal(); ok && len(literal) > 12 && bytes.Contains(shown, []byte("password: "+literal)) {
				t.Error("a password is shown")
			}
		}
		document, err := cfg.Document()
		if err != nil {
			t.Fatal(err)
		}
		again, _, report := Parse([]Layer{{Name: "last-good", Data: document}})
		if report.Err() != nil || !sameConfig(cfg, again) {
			t.Errorf("not the same when read again: %v\n%s", report.Err(), document)
		}
	})
}

// secretAsKey tells whether the fuzzer made a key of the marker: a plain word
// in a key's place is shown.
func secretAsKey(report Report) bool {
	for _, e := range report {
		if strings.Contains(e.Message, "secretvalue") {
			return false
		}
	}
	return true
}
