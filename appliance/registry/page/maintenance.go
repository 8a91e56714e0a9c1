// Package page answers what is not the registry's interface: the page at the
// root, and everything while the machine is in maintenance.
package page

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// retryAfter is in seconds.
const retryAfter = 30

// Maintenance is why the machine does not serve: the file that redoubt apply
// leaves when the configuration cannot be used.
type Maintenance struct {
	Hostname string  `json:"hostname"`
	Errors   []Error `json:"errors"`
}

// Error is one mistake: where it is, which key, and the rule it breaks. It
// never has the value.
type Error struct {
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Column  int     `json:"column,omitempty"`
	Path    string  `json:"path,omitempty"`
	Message string  `json:"message"`
	Excerpt Excerpt `json:"excerpt,omitzero"`
}

// Excerpt is the line of a mistake, with what may be secret masked, and where in it the
// mistake is: a column from 1 and a width, both in letters.
type Excerpt struct {
	Text   string `json:"text"`
	Column int    `json:"column"`
	Width  int    `json:"width"`
}

// Before, Marked and After are the parts of the line around the mistake.
func (x Excerpt) Before() string { before, _, _ := x.parts(); return before }

// Marked is the mistake itself; a space stands for what is missing.
func (x Excerpt) Marked() string { _, marked, _ := x.parts(); return cmp.Or(marked, " ") }

// After is what follows the mistake.
func (x Excerpt) After() string { _, _, after := x.parts(); return after }

func (x Excerpt) parts() (before, marked, after string) {
	line := []rune(x.Text)
	from := min(max(0, x.Column-1), len(line))
	to := min(from+max(0, x.Width), len(line))
	return string(line[:from]), string(line[from:to]), string(line[to:])
}

func (e Error) String() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		for _, n := range []int{e.Line, e.Column} {
			if n > 0 {
				fmt.Fprintf(&b, ":%d", n)
			}
		}
		b.WriteString(": ")
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	return b.String() + e.Message
}

// ReadMaintenance reads the file. It returns nil where there is none. A file
// that cannot be read still means maintenance.
func ReadMaintenance(path string) *Maintenance {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	m := &Maintenance{}
	if err == nil {
		err = json.Unmarshal(data, m)
	}
	if err != nil {
		return &Maintenance{Errors: []Error{{File: path, Message: "the reason cannot be read; run: redoubt status"}}}
	}
	return m
}

// Summary is the reason in one line.
func (m *Maintenance) Summary() string {
	lines := make([]string, len(m.Errors))
	for i, e := range m.Errors {
		lines[i] = e.String()
	}
	if len(lines) == 0 {
		lines = []string{"the machine is being set up or repaired"}
	}
	who := "this registry"
	if m.Hostname != "" {
		who = m.Hostname
	}
	return who + " is in maintenance: " + strings.Join(lines, "; ")
}

// ServeHTTP answers every path with 503: an OCI error body under /v2/, JSON
// to who asks for it, and a page for people.
func (m *Maintenance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Retry-After", strconv.Itoa(retryAfter))
	h.Set("Cache-Control", "no-store")
	switch {
	case r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/"):
		h.Set("Docker-Distribution-Api-Version", "registry/2.0")
		body := encode(ociErrors("UNAVAILABLE", m.Summary(), m))
		if !writeReason(w, r, m.Summary(), body) {
			write(w, http.StatusServiceUnavailable, jsonType, body)
		}
	case strings.Contains(r.Header.Get("Accept"), "application/json"):
		writeJSON(w, http.StatusServiceUnavailable, m)
	default:
		writeHTML(w, http.StatusServiceUnavailable, maintenanceHTML, m)
	}
}

// OCIError is an error of the OCI distribution specification, "Error Codes".
type OCIError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// ociErrors is the specification's body of one error.
func ociErrors(code, message string, detail any) any {
	return ociList{[]OCIError{{code, message, detail}}}
}

type ociList struct {
	Errors []OCIError `json:"errors"`
}

const jsonType = "application/json; charset=utf-8"

func writeJSON(w http.ResponseWriter, status int, v any) { write(w, status, jsonType, encode(v)) }

func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		return []byte(`{"errors":[{"code":"UNKNOWN","message":"cannot encode the answer"}]}` + "\n")
	}
	return append(body, '\n')
}

func writeHTML(w http.ResponseWriter, status int, text string, data any) {
	var body bytes.Buffer
	t, err := template.New("page").Parse(layoutHTML + text)
	if err == nil {
		err = t.Execute(&body, data)
	}
	if err != nil {
		http.Error(w, "cannot render the page", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	write(w, status, "text/html; charset=utf-8", body.Bytes())
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

//go:embed layout.html
var layoutHTML string

//go:embed maintenance.html
var maintenanceHTML string
