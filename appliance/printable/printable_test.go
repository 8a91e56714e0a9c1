package printable

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, ключ, 鍵, •••\n\tnext": "plain text, ключ, 鍵, •••\n\tnext",
		"\x1b]0;title\x07\x1b[2J":          "?]0;title??[2J",
		"a\rb\bc\x7fd":                     "a?b?c?d",
		"\u009b31m":                        "?31m",
		"\xff\xfe":                         "??",
		"a\u202eb\u2066c\u2028d":           "a?b?c?d",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		var b strings.Builder
		if n, err := Writer(&b).Write([]byte(in)); n != len(in) || err != nil || b.String() != want {
			t.Errorf("%q: wrote %q, %d, %v", in, b.String(), n, err)
		}
	}
	if got := Line("a\n\tb"); got != "a??b" {
		t.Errorf("got %q", got)
	}
}
