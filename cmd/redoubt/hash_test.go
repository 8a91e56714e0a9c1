package main

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestHash(t *testing.T) {
	run := func(in string) (string, error) {
		cmd := rootCommand()
		var out bytes.Buffer
		cmd.SetIn(strings.NewReader(in))
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs([]string{"hash"})
		err := cmd.Execute()
		return out.String(), err
	}
	for _, in := range []string{"correct horse\n", "correct horse", "correct horse\r\nnot read\n"} {
		out, err := run(in)
		if err != nil || bcrypt.CompareHashAndPassword([]byte(strings.TrimSpace(out)), []byte("correct horse")) != nil {
			t.Errorf("%q: %v %s", in, err, out)
		}
	}
	for in, want := range map[string]string{"": "empty", "\n": "empty", strings.Repeat("a", 73): "72 bytes", "a\x00b": "NUL", "a\tb": "tab"} {
		if out, err := run(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %s", in, err, out)
		}
	}
}
