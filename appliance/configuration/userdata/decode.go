// Package userdata finds the configuration that a machine was given and
// decodes it into layers: cloud-init's raw user-data and vendor-data, a
// systemd credential, and configuration files.
package userdata

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const (
	// maxSize bounds a source, and what it unpacks to.
	maxSize = 1 << 20
	// maxNesting bounds gzip in MIME in gzip, and so on.
	maxNesting = 5
	// maxParts bounds the parts of a MIME message, at any depth.
	maxParts = 200
)

// Decoded is what a source turned out to hold.
type Decoded struct {
	// Layers are the documents with a redoubt: key in it, in order. None means that
	// the source has no such key, which is no mistake.
	Layers []config.Layer
	// Report says what cannot be read.
	Report config.Report
	// Expand is set when cloud-init alone can tell what the source holds: a
	// template, an include or an archive.
	Expand bool
}

// Decode unpacks user-data as cloud-init would: gzip, MIME with parts of
// several kinds, #cloud-config, or a whole #redoubt-config document. A part's
// name has its number and its file name, and its lines count from its start.
func Decode(name string, data []byte) Decoded {
	d := decoder{source: name}
	d.bytes(name, data, 0)
	return d.Decoded
}

// add puts what another source holds above this.
func (d *Decoded) add(other Decoded) {
	d.Layers = append(d.Layers, other.Layers...)
	d.Report = append(d.Report, other.Report...)
	d.Expand = d.Expand || other.Expand
}

type decoder struct {
	Decoded
	source    string
	mergeType string // of the part that is read
	parts     int
	size      int
}

func (d *decoder) fail(name, format string, args ...any) {
	d.Report = append(d.Report, config.Entry{File: name, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) warn(name, message string) {
	d.Report = append(d.Report, config.Entry{File: name, Message: message, Warning: true})
}

func (d *decoder) layer(name string, data []byte, cloud bool) {
	d.Layers = append(d.Layers, config.Layer{Name: name, Data: data, Cloud: cloud, Source: d.source, MergeType: d.mergeType})
}

var (
	// A mailbox's "From " line may stand before the header (RFC 4155); the email
	// package of cloud-init passes it over.
	mimeStart = regexp.MustCompile(`^(?:From [^\n]*\n)?(?i:content-type|mime-version)[ \t]*:`)
	ownKey    = regexp.MustCompile(`(?:^|[\r\n])["']?redoubt["']?[ \t]*:`)
	gzipMagic = []byte{0x1f, 0x8b}
)

func (d *decoder) bytes(name string, data []byte, nesting int) {
	d.size += len(data)
	if d.size > maxSize {
		d.fail(name, "too large: at most 1 MiB is read")
		return
	}
	if nesting > maxNesting {
		d.fail(name, "packed more than %d times over", maxNesting)
		return
	}
	if bytes.HasPrefix(data, gzipMagic) {
		unpacked, err := gunzip(data)
		if err != nil {
			d.fail(name, "cannot unpack: %v", err)
			return
		}
		d.bytes(name, unpacked, nesting+1)
		return
	}
	if other := sniff(data); other.data != nil {
		d.warn(name, other.warning)
		d.bytes(name, other.data, nesting+1)
		return
	}
	text := trimStart(data)
	if mimeStart.Match(text) {
		d.message(name, text, nesting)
		return
	}
	d.text(name, data, firstLine(text))
}

// trimStart leaves out what may stand before the first line.
func trimStart(data []byte) []byte {
	return bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
}

func firstLine(text []byte) string {
	if end := bytes.IndexAny(text, "\r\n"); end >= 0 {
		text = text[:end]
	}
	return strings.TrimRight(string(text), " \t")
}

// text takes what is neither packed nor MIME, by its first line.
func (d *decoder) text(name string, data []byte, first string) {
	switch {
	case escaped(data):
		d.fail(name, `its line breaks are written as \n: hand it over with real ones`)
	case first == "#cloud-config" || strings.HasPrefix(first, "#cloud-config "):
		d.layer(name, data, true)
	case strings.HasPrefix(first, "#redoubt-config"):
		d.layer(name, data, false)
	case strings.HasPrefix(first, "## template:"), strings.HasPrefix(first, "#include"), strings.HasPrefix(first, "#cloud-config-"):
		d.Expand = true
	case strings.HasPrefix(first, "#!"), strings.HasPrefix(first, "#cloud-boothook"), strings.HasPrefix(first, "#part-handler"):
	case ownKey.Match(data):
		d.layer(name, data, false)
	}
}

// gunzip unpacks at most maxSize bytes, so that a small input cannot fill the
// memory.
func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("broken gzip header")
	}
	unpacked, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	switch {
	case len(unpacked) > maxSize:
		return nil, errors.New("the gzip data unpacks to more than 1 MiB")
	case err != nil:
		return nil, errors.New("the gzip data is broken or cut off")
	}
	return unpacked, nil
}
