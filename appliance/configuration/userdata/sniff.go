package userdata

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"strings"
	"unicode/utf16"
)

// unwrapped is data in another form than the one it was given in. The warning says
// what it was given in; nil data means that it is in none that is known here.
type unwrapped struct {
	data    []byte
	warning string
}

const (
	isUTF16  = "this is UTF-16: it is read, and cloud-init reads nothing in it, such as SSH keys; save it as UTF-8"
	isBase64 = "this is base64: it is read, and most clouds' cloud-init reads nothing in it, such as SSH keys; hand it over decoded"
)

// sniff recognises what editors and tools make of a document on its way here, by its
// bytes alone.
func sniff(data []byte) unwrapped {
	if text := fromUTF16(data); text != nil {
		return unwrapped{text, isUTF16}
	}
	if decoded := fromBase64(data); decoded != nil {
		return unwrapped{decoded, isBase64}
	}
	return unwrapped{}
}

// fromUTF16 goes by the byte order mark, or by a zero byte beside the first letter,
// which is ASCII in every document that is read here.
func fromUTF16(data []byte) []byte {
	if len(data) < 4 || len(data)%2 != 0 {
		return nil
	}
	var order binary.ByteOrder
	switch {
	case data[0] == 0xff && data[1] == 0xfe, data[0] != 0 && data[1] == 0 && data[3] == 0:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff, data[0] == 0 && data[1] != 0 && data[2] == 0:
		order = binary.BigEndian
	default:
		return nil
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return bytes.TrimPrefix([]byte(string(utf16.Decode(units))), []byte("\ufeff"))
}

var base64Text = regexp.MustCompile(`\A[A-Za-z0-9+/]{12}[A-Za-z0-9+/\s]*={0,2}\s*\z`)

// fromBase64 takes for base64 only what holds a document that is known here: a word
// may look like base64, too.
func fromBase64(data []byte) []byte {
	text := bytes.TrimSpace(data)
	if !base64Text.Match(text) {
		return nil
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil
	}
	start := trimStart(decoded)
	known := bytes.HasPrefix(decoded, gzipMagic) || bytes.HasPrefix(start, []byte("#")) || mimeStart.Match(start) ||
		ownKey.Match(decoded) || fromBase64(decoded) != nil
	if !known {
		return nil
	}
	return decoded
}

// escaped tells whether line breaks were written as a backslash and an n, as a tool
// does that quotes a document once too often.
func escaped(text []byte) bool {
	line, _, more := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return !more && bytes.Contains(line, []byte(`\n`)) &&
		(bytes.HasPrefix(line, []byte(`#cloud-config\`)) || bytes.HasPrefix(line, []byte(`#redoubt-config\`)) || ownKey.Match(line))
}
