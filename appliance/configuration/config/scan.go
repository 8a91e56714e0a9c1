package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSize bounds a layer; clouds allow user-data of 16 to 64 KiB.
const maxSize = 1 << 20

// scan reads a layer's YAML into a node. Without a node the entry says why;
// an empty document has neither.
func scan(name string, data []byte) (*yaml.Node, *Entry) {
	fail := func(at int, message string) (*yaml.Node, *Entry) {
		line, column := place(data, at)
		return nil, &Entry{File: name, Line: line, Column: column, Message: message}
	}
	if len(data) > maxSize {
		return nil, &Entry{File: name, Message: "too large: at most 1 MiB is read"}
	}
	if at := firstInvalid(data); at >= 0 {
		return fail(at, "not UTF-8: save the file as UTF-8 text")
	}
	if at := bytes.IndexByte(data, 0); at >= 0 {
		return fail(at, "holds a zero byte: this is not text")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(ofVersion11(data)))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		if at := tab(data); at >= 0 && tabbed.MatchString(err.Error()) {
			return fail(at, "a tab indents this line: YAML takes spaces alone")
		}
		if at := wideSpace(data); at >= 0 {
			return fail(at, wideIndent)
		}
		return nil, syntax(name, data, err)
	}
	if at := wideSpace(data); at >= 0 && wideKey(&document) {
		return fail(at, wideIndent)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &Entry{File: name, Line: second.Line, Column: second.Column, Message: "a second document: only one is read"}
	case !errors.Is(err, io.EOF):
		return nil, syntax(name, data, err)
	}
	return document.Content[0], nil
}

// directive is a %YAML line before the document.
var directive = regexp.MustCompile(`\A\x{feff}?(?:[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n))*%YAML[ \t]+1\.(\d)`)

// ofVersion11 calls a document of YAML 1.2 one of 1.1, as cloud-init takes it: the library
// refuses the number, and reads both.
func ofVersion11(data []byte) []byte {
	at := directive.FindSubmatchIndex(data)
	if at == nil {
		return data
	}
	out := bytes.Clone(data)
	out[at[2]] = '1'
	return out
}

// breaks are what YAML takes for the end of a line (YAML 1.1, 5.4).
var breaks = regexp.MustCompile("\r\n|[\n\r\u0085\u2028\u2029]")

// place is the line and column, from 1, of the byte at index at.
func place(data []byte, at int) (line, column int) {
	lines := breaks.Split(string(data[:at]), -1)
	return len(lines), 1 + utf8.RuneCountInString(lines[len(lines)-1])
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// tab is the index of the first tab that indents a line, or -1.
func tab(data []byte) int {
	start := 0
	for line := range bytes.Lines(data) {
		indent := len(line) - len(bytes.TrimLeft(line, " \t"))
		if at := bytes.IndexByte(line[:indent], '\t'); at >= 0 && len(bytes.TrimSpace(line)) > 0 {
			return start + at
		}
		start += len(line)
	}
	return -1
}

const wideIndent = "a no-break space indents this line, as web pages and editors put it in: YAML takes plain spaces alone"

// wideSpaces are what looks like a space and is none to YAML, which takes it for a
// part of the key.
const wideSpaces = "\u00a0\u2007\u202f\u3000\u200b"

// wideSpace is the index of the first such one that indents a line, or -1.
func wideSpace(data []byte) int {
	start := 0
	for line := range bytes.Lines(data) {
		indent := len(line) - len(bytes.TrimLeft(line, " "+wideSpaces))
		if at := bytes.IndexAny(line[:indent], wideSpaces); at >= 0 {
			return start + at
		}
		start += len(line)
	}
	return -1
}

// wideKey tells whether a key begins with one.
func wideKey(n *yaml.Node) bool {
	for i, child := range n.Content {
		key := n.Kind == yaml.MappingNode && i%2 == 0
		if key && child.Style == 0 && strings.IndexAny(child.Value, wideSpaces) == 0 || wideKey(child) {
			return true
		}
	}
	return false
}

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	// tabbed are the errors that a tab in an indent gives.
	tabbed = regexp.MustCompile(`tab character|cannot start any token`)
	// early are the errors whose line the library counts from 0.
	early = regexp.MustCompile(`^did not find expected (key|node content|'|<)|^found undefined tag`)
)

// syntax turns an error of the YAML library into an entry. The library quotes
// the document only when it names an anchor.
func syntax(name string, data []byte, err error) *Entry {
	line, message := 1, "not valid YAML"
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
			if early.MatchString(m[2]) {
				line++
			}
		}
		if name, ok := strings.CutPrefix(m[2], "unknown anchor '"); ok {
			name, _, _ = strings.Cut(name, "'")
			line, _ = place(data, max(0, bytes.Index(data, []byte("*"+name))))
			m[2] = "an alias (*name) without its anchor"
		}
		message += ": " + m[2]
	}
	last := len(breaks.Split(strings.TrimSuffix(string(data), "\n"), -1))
	return &Entry{File: name, Line: min(max(line, 1), last), Column: 1, Message: message}
}
