// Package printable makes text that others wrote safe to print: a terminal acts on
// control characters, and reads text backwards after some marks.
package printable

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text replaces each character that a terminal would act on by a question mark:
// control characters but for the end of a line and the tab (ECMA-48, C0 and C1), bytes
// that are no UTF-8, and the marks that turn the direction of text (Unicode, UAX 9).
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return line(r)
	}, s)
}

// Line is Text without the end of a line and the tab: for a part of a line.
func Line(s string) string { return strings.Map(line, s) }

func line(r rune) rune {
	if r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) ||
		r == '\u2028' || r == '\u2029' {
		return '?'
	}
	return r
}

// Writer passes on to w what is written, as Text has it. What ends in the middle of a
// character is not joined with what comes next.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.to, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// maxValue is the most that is kept of one value of a stranger's, in bytes.
const maxValue = 256

// Value makes a value that a client sent fit for a log: at most 256 bytes of it, and
// a question mark for whatever is not seen on a page.
func Value(s string) string {
	cut := ""
	if len(s) > maxValue {
		s, cut = s[:maxValue], "…"
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s) + cut
}
