package userdata

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
)

// message reads a MIME message (RFC 2045, 2046), the form in which cloud-init
// takes several documents at once.
func (d *decoder) message(name string, data []byte, nesting int) {
	if bytes.HasPrefix(data, []byte("From ")) {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	r := bufio.NewReader(bytes.NewReader(data))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		d.fail(name, "broken MIME header: each line must be a name, a colon and a value, and an empty line ends it")
		return
	}
	body, err := io.ReadAll(r)
	if err != nil {
		d.fail(name, "cannot read the MIME body")
		return
	}
	d.part(name, header, body, nesting)
}

func (d *decoder) part(name string, header textproto.MIMEHeader, body []byte, nesting int) {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	if header.Get("Content-Type") == "" {
		kind, err = "text/plain", nil
	}
	if err != nil {
		d.fail(name, "broken Content-Type")
		return
	}
	if strings.HasPrefix(kind, "multipart/") {
		d.multipart(name, params["boundary"], body, nesting+1)
		return
	}
	d.mergeType = cmp.Or(header.Get("Merge-Type"), header.Get("X-Merge-Type"))
	body, err = transfer(header.Get("Content-Transfer-Encoding"), body)
	if err != nil {
		d.fail(name, "%v", err)
		return
	}
	switch kind {
	case "text/cloud-config", "text/x-redoubt-config":
		d.document(name, body, kind == "text/cloud-config", nesting)
	case "text/jinja2", "text/x-include-url", "text/x-include-once-url", "text/cloud-config-archive", "text/cloud-config-jsonp":
		d.Expand = true
	case "text/x-shellscript", "text/x-shellscript-per-boot", "text/x-shellscript-per-instance", "text/x-shellscript-per-once",
		"text/cloud-boothook", "text/part-handler":
	default: // cloud-init goes by the first line here
		d.bytes(name, body, nesting+1)
	}
}

// document takes a part whose type says what it is, whatever its first line.
func (d *decoder) document(name string, body []byte, cloud bool, nesting int) {
	text := bytes.TrimSpace(body)
	if bytes.HasPrefix(text, []byte{0x1f, 0x8b}) || bytes.HasPrefix(text, []byte("## template:")) {
		d.bytes(name, body, nesting+1)
		return
	}
	if d.size += len(body); d.size > maxSize {
		d.fail(name, "too large: at most 1 MiB is read")
		return
	}
	d.layer(name, body, cloud)
}

func (d *decoder) multipart(name, boundary string, body []byte, nesting int) {
	if nesting > maxNesting {
		d.fail(name, "packed more than %d times over", maxNesting)
		return
	}
	if boundary == "" {
		d.fail(name, "a multipart message without a boundary")
		return
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for number := 1; ; number++ {
		p, err := r.NextRawPart()
		if err == io.EOF { // and not wrapped, which is an end without a boundary
			return
		}
		if err != nil && number == 1 {
			d.fail(name, `no line is the boundary that its Content-Type names: parts begin with "--" and that word`)
			return
		}
		if err != nil {
			d.fail(name, "broken after part %d: the boundary that ends the message is missing, or a part's header is broken", number-1)
			return
		}
		if d.parts++; d.parts > maxParts {
			d.fail(name, "more than %d parts", maxParts)
			return
		}
		data, err := io.ReadAll(p)
		if err != nil {
			d.fail(name, "broken in part %d: the boundary that ends the message is missing", number)
			return
		}
		d.part(partName(name, number, p.FileName()), p.Header, data, nesting)
	}
}

func partName(name string, number int, file string) string {
	name = fmt.Sprintf("%s part %d", name, number)
	for _, r := range file {
		if r < ' ' || r > '~' || len(file) > 100 {
			return name
		}
	}
	if file == "" {
		return name
	}
	return name + " (" + file + ")"
}

// transfer undoes a Content-Transfer-Encoding (RFC 2045, 6).
func transfer(encoding string, body []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return body, nil
	case "base64":
		out, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(bytes.TrimSpace(body))))
		if err != nil {
			return nil, errors.New("broken base64")
		}
		return out, nil
	case "quoted-printable":
		out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(body)))
		if err != nil {
			return nil, errors.New("broken quoted-printable")
		}
		return out, nil
	}
	return nil, errors.New("Content-Transfer-Encoding must be 7bit, 8bit, binary, base64 or quoted-printable")
}
