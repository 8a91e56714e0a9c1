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
	d := decoder{}
	d.bytes(name, data, 0)
	return d.Decoded
}

type decoder struct {
	Decoded
	parts int
	size  int
}

func (d *decoder) fail(name, format string, args ...any) {
	d.Report = append(d.Report, config.Entry{File: name, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) add(name string, data []byte, cloud bool) {
	d.Layers = append(d.Layers, config.Layer{Name: name, Data: data, Cloud: cloud})
}

var (
	mimeStart = regexp.MustCompile(`^(?i:content-type|mime-version)[ \t]*:`)
	ownKey    = regexp.MustCompile(`(?m)^["']?redoubt["']?[ \t]*:`)
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
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		unpacked, err := gunzip(data)
		if err != nil {
			d.fail(name, "cannot unpack: %v", err)
			return
		}
		d.bytes(name, unpacked, nesting+1)
		return
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\ufeff")), " \t\r\n")
	if mimeStart.Match(text) {
		d.message(name, text, nesting)
		return
	}
	d.text(name, data, firstLine(text))
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimRight(string(line), " \t\r")
}

// text takes what is neither packed nor MIME, by its first line.
func (d *decoder) text(name string, data []byte, first string) {
	switch {
	case first == "#cloud-config" || strings.HasPrefix(first, "#cloud-config "):
		d.add(name, data, true)
	case strings.HasPrefix(first, "#redoubt-config"):
		d.add(name, data, false)
	case strings.HasPrefix(first, "## template:"), strings.HasPrefix(first, "#include"), strings.HasPrefix(first, "#cloud-config-"):
		d.Expand = true
	case strings.HasPrefix(first, "#!"), strings.HasPrefix(first, "#cloud-boothook"), strings.HasPrefix(first, "#part-handler"):
	case ownKey.Match(data):
		d.add(name, data, false)
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
