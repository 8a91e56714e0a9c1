package userdata

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

func packed(t testing.TB, data string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mixed is a MIME message of parts, each with its own header lines.
func mixed(parts ...string) string {
	return "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"==b==\"\n\n--==b==\n" +
		strings.Join(parts, "\n--==b==\n") + "\n--==b==--\n"
}

const (
	good   = "#cloud-config\nredoubt:\n  hostname: a.example.com\n"
	second = "#cloud-config\nredoubt:\n  aliases: [b.example.com]\n"
)

// wide is text as UTF-16.
func wide(order binary.AppendByteOrder, text string) string {
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

// expand is what summary says of a document that cloud-init has to expand.
const expand = "expand\n"

// summary is what was decoded: names and sizes of layers, then the report.
func summary(d Decoded) string {
	var b strings.Builder
	for _, l := range d.Layers {
		fmt.Fprintf(&b, "%s: %d bytes\n", l.Name, len(l.Data))
	}
	if d.Expand {
		b.WriteString(expand)
	}
	return b.String() + d.Report.String()
}

func TestDecode(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte(good))
	nested := good
	for range maxNesting + 2 {
		nested = packed(t, nested)
	}
	for name, c := range map[string]struct{ data, want string }{
		"cloud-config":      {good, "u: 49 bytes\n"},
		"CRLF":              {strings.ReplaceAll(good, "\n", "\r\n"), "u: 52 bytes\n"},
		"BOM":               {"\ufeff" + good, "u: 52 bytes\n"},
		"leading lines":     {"\n\n" + good, "u: 51 bytes\n"},
		"own header":        {"#redoubt-config\nhostname: a.example.com\n", "u: 40 bytes\n"},
		"own key":           {"redoubt:\n  hostname: a.example.com\n", "u: 35 bytes\n"},
		"empty":             {"", ""},
		"script":            {"#!/bin/sh\necho redoubt: no\n", ""},
		"text":              {"hello\n", ""},
		"boothook":          {"#cloud-boothook\n", ""},
		"jinja":             {"## template: jinja\n" + good, expand},
		"include":           {"#include\nhttps://example.com/x\n", expand},
		"archive":           {"#cloud-config-archive\n- x\n", expand},
		"gzip":              {packed(t, good), "u: 49 bytes\n"},
		"gzip cut off":      {packed(t, good)[:30], "u: cannot unpack: the gzip data is broken or cut off\n"},
		"gzip header alone": {"\x1f\x8b", "u: cannot unpack: broken gzip header\n"},
		"gzip bomb":         {packed(t, strings.Repeat("a", 50<<20)), "u: cannot unpack: the gzip data unpacks to more than 1 MiB\n"},
		"gzip in gzip":      {nested, "u: packed more than 5 times over\n"},
		"too large":         {strings.Repeat("#", maxSize+1), "u: too large: at most 1 MiB is read\n"},
		"parts": {mixed("Content-Type: text/cloud-config\n\n"+good, "Content-Type: text/x-shellscript\n\n#!/bin/sh\n",
			"Content-Type: text/cloud-config\nContent-Disposition: attachment; filename=\"site.yaml\"\n\n"+second),
			"u part 1: 49 bytes\nu part 3 (site.yaml): 50 bytes\n"},
		"own type":      {mixed("Content-Type: text/x-redoubt-config\n\nhostname: a.example.com\n"), "u part 1: 24 bytes\n"},
		"plain type":    {mixed("Content-Type: text/plain\n\n" + good), "u part 1: 49 bytes\n"},
		"no type":       {mixed("\n" + good), "u part 1: 49 bytes\n"},
		"base64":        {mixed("Content-Type: text/cloud-config\nContent-Transfer-Encoding: base64\n\n" + encoded), "u part 1: 49 bytes\n"},
		"broken base64": {mixed("Content-Transfer-Encoding: base64\n\n=secretvalue"), "u part 1: broken base64\n"},
		"quoted-printable": {mixed("Content-Type: text/cloud-config\nContent-Transfer-Encoding: quoted-printable\n\n#cloud-config\nredoubt:\n  hostname=3A a.example=\n.com\n"),
			"u part 1: 49 bytes\n"},
		"odd encoding":    {mixed("Content-Transfer-Encoding: rot13\n\nx"), "u part 1: Content-Transfer-Encoding must be 7bit, 8bit, binary, base64 or quoted-printable\n"},
		"gzip part":       {mixed("Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(packed(t, good)))), "u part 1: 49 bytes\n"},
		"jinja part":      {mixed("Content-Type: text/jinja2\n\n" + good), expand},
		"no boundary":     {"Content-Type: multipart/mixed\n\nx\n", "u: a multipart message without a boundary\n"},
		"cut off":         {strings.TrimSuffix(mixed("Content-Type: text/cloud-config\n\n"+good), "--==b==--\n"), "u: broken in part 1: the boundary that ends the message is missing\n"},
		"broken type":     {mixed("Content-Type: ;;;\n\nx"), "u part 1: broken Content-Type\n"},
		"From line":       {"From nobody Thu Jan  1 00:00:00 2026\n" + mixed("Content-Type: text/cloud-config\n\n"+good), "u part 1: 49 bytes\n"},
		"wrong boundary":  {strings.ReplaceAll(mixed("Content-Type: text/cloud-config\n\n"+good), "\n--==b==", "\n--==c=="), "u: no line is the boundary that its Content-Type names: parts begin with \"--\" and that word\n"},
		"CR only":         {strings.ReplaceAll(good, "\n", "\r"), "u: 49 bytes\n"},
		"own key, CR":     {"# a\rredoubt:\r  hostname: a.example.com\r", "u: 39 bytes\n"},
		"escaped":         {strings.ReplaceAll(good, "\n", `\n`), "u: its line breaks are written as \\n: hand it over with real ones\n"},
		"escaped CRLF":    {strings.ReplaceAll(good, "\n", `\r\n`), "u: its line breaks are written as \\n: hand it over with real ones\n"},
		"escaped, bare":   {`redoubt:\n  hostname: a.example.com\n` + "\n", "u: its line breaks are written as \\n: hand it over with real ones\n"},
		"UTF-16":          {wide(binary.LittleEndian, "\ufeff"+good), "u: 49 bytes\nu: warning: " + isUTF16 + "\n"},
		"UTF-16, big":     {wide(binary.BigEndian, "\ufeff"+good), "u: 49 bytes\nu: warning: " + isUTF16 + "\n"},
		"UTF-16, bare":    {wide(binary.LittleEndian, good), "u: 49 bytes\nu: warning: " + isUTF16 + "\n"},
		"all in base64":   {encoded, "u: 49 bytes\nu: warning: " + isBase64 + "\n"},
		"base64 in lines": {encoded[:40] + "\n" + encoded[40:] + "\n", "u: 49 bytes\nu: warning: " + isBase64 + "\n"},
		"base64 twice":    {base64.StdEncoding.EncodeToString([]byte(encoded)), "u: 49 bytes\nu: warning: " + isBase64 + "\nu: warning: " + isBase64 + "\n"},
		"base64 of gzip":  {base64.StdEncoding.EncodeToString([]byte(packed(t, good))), "u: 49 bytes\nu: warning: " + isBase64 + "\n"},
		"a word":          {"YWJjZGVmZ2hpamts", ""},
		"broken header":   {"MIME-Version: 1.0\nno colon here\n\nx\n", "u: broken MIME header: each line must be a name, a colon and a value, and an empty line ends it\n"},
		"many parts":      {mixed(strings.Split(strings.Repeat("\nx|", maxParts+1), "|")...), "u: more than 200 parts\n"},
		"nested":          {"Content-Type: multipart/mixed; boundary=o\n\n--o\n" + mixed("Content-Type: text/cloud-config\n\n" + good)[len("MIME-Version: 1.0\n"):] + "\n--o--\n", "u part 1 part 1: 49 bytes\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := summary(Decode("u", []byte(c.data))); got != c.want {
				t.Errorf("got:\n%swant:\n%s", got, c.want)
			}
		})
	}
}

// TestPartsMergeInOrder wants both of our parts in the configuration, where
// cloud-init's own merge would keep the last alone, and lines that count from
// a part's start.
func TestPartsMergeInOrder(t *testing.T) {
	d := Decode("user-data", []byte(mixed("Content-Type: text/cloud-config\n\n"+good, "Content-Type: text/cloud-config\n\n"+second+"  nods: 1\n")))
	cfg, _, report := config.Parse(d.Layers)
	if cfg.Hostname != "a.example.com" || len(cfg.Aliases) != 1 {
		t.Errorf("%+v", cfg)
	}
	if got := report.Errors().String(); got != "user-data part 2:4:3: nods: unknown key (did you mean \"nodes\"?)\n" {
		t.Error(got)
	}
}

func TestHeaderlessPart(t *testing.T) {
	d := Decode("u", []byte(mixed("Content-Type: text/cloud-config\n\npackages: [a]\nredoubt: {hostname: a.example.com}\n")))
	if _, _, report := config.Parse(d.Layers); report.Err() != nil {
		t.Error(report) // packages: is cloud-init's, although the first line does not say so
	}
}

// holds are the bounds that no input may pass.
func holds(t *testing.T, d Decoded) {
	t.Helper()
	size := 0
	for _, l := range d.Layers {
		size += len(l.Data)
	}
	if size > maxSize || len(d.Layers) > maxParts {
		t.Errorf("%d layers of %d bytes", len(d.Layers), size)
	}
	if strings.Contains(d.Report.String(), "secretvalue") {
		t.Errorf("a secret in: %s", d.Report)
	}
}

func FuzzUserData(f *testing.F) {
	for _, s := range []string{good, second, "#!/bin/sh\n", "## template: jinja\n" + good, "redoubt:\n", "#include\nhttps://example.com\n",
		packed(f, good), mixed("Content-Type: text/cloud-config\n\n" + good), "#redoubt-config\nhostname: secretvalue\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := Decode("user-data", data)
		holds(t, d)
		again := Decode("user-data", data)
		if summary(d) != summary(again) {
			t.Error("decoded differently the second time")
		}
		config.Parse(d.Layers)
	})
}

func FuzzMIME(f *testing.F) {
	f.Add("text/cloud-config", "7bit", "a.yaml", good)
	f.Add("text/cloud-config", "base64", "", base64.StdEncoding.EncodeToString([]byte(good)))
	f.Add("text/x-redoubt-config", "quoted-printable", "é", "hostname=3A a")
	f.Add("multipart/mixed; boundary=x", "", "", "--x\n\n"+good+"\n--x--")
	f.Add("application/gzip", "binary", "", packed(f, good))
	f.Fuzz(func(t *testing.T, kind, encoding, file, body string) {
		part := "Content-Type: " + kind + "\nContent-Transfer-Encoding: " + encoding +
			"\nContent-Disposition: attachment; filename=\"" + file + "\"\n\n" + body
		d := Decode("user-data", []byte(mixed(part, "Content-Type: text/cloud-config\n\n"+second)))
		holds(t, d)
		for _, l := range d.Layers {
			if !strings.HasPrefix(l.Name, "user-data") || strings.ContainsAny(l.Name, "\n\r\x00") {
				t.Errorf("a layer's name: %q", l.Name)
			}
		}
	})
}

func FuzzGzip(f *testing.F) {
	f.Add([]byte(packed(f, good)))
	f.Add([]byte(packed(f, packed(f, good))))
	f.Add([]byte(packed(f, strings.Repeat("redoubt:\n", 1<<17))))
	f.Add([]byte(packed(f, good) + packed(f, second)))
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := gunzip(data)
		if len(plain) > maxSize || err != nil && plain != nil {
			t.Errorf("%d bytes and error %v", len(plain), err)
		}
		holds(t, Decode("user-data", data))
		// What is packed decodes as what is not.
		if len(data) < maxSize/4 {
			want, got := Decode("user-data", data), Decode("user-data", []byte(packed(t, string(data))))
			if len(want.Report) == 0 && len(got.Report) == 0 && summary(want) != summary(got) {
				t.Errorf("plain:\n%spacked:\n%s", summary(want), summary(got))
			}
		}
	})
}
