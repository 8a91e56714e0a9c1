package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Entry is one thing to say about a configuration. No entry holds a value that may be
// a secret.
type Entry struct {
	File    string `json:"file"` // the layer's name; empty when no layer is to blame
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"` // such as auth.users[0].name
	Message string `json:"message"`
	Warning bool   `json:"warning,omitempty"`
	// Excerpt is the line in question; it is empty where there is none.
	Excerpt Excerpt `json:"excerpt,omitzero"`
}

// String is the entry as one line: file:line:col: path: message.
func (e Entry) String() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Warning {
		b.WriteString("warning: ")
	}
	return b.String() + e.Message
}

// Report is everything to say about a configuration, sorted by place.
type Report []Entry

// Errors are the entries that make the configuration unusable.
func (r Report) Errors() Report { return r.only(false) }

// Warnings are the entries that do not.
func (r Report) Warnings() Report { return r.only(true) }

func (r Report) only(warning bool) Report {
	var out Report
	for _, e := range r {
		if e.Warning == warning {
			out = append(out, e)
		}
	}
	return out
}

// String is one line for each entry.
func (r Report) String() string {
	var b strings.Builder
	for _, e := range r {
		b.WriteString(e.String() + "\n")
	}
	return b.String()
}

// Colors are what a terminal begins and ends a part of a text with; the zero value
// is for all that is no terminal.
type Colors struct{ Bold, Mark, End string }

// Terminal returns the colours of a terminal (ECMA-48, SGR).
func Terminal() Colors { return Colors{Bold: "\x1b[1m", Mark: "\x1b[1;31m", End: "\x1b[0m"} }

// Show is each entry with its line and a mark under the mistake.
func (r Report) Show(c Colors) string {
	var b strings.Builder
	for _, e := range r {
		b.WriteString(e.Show(c))
	}
	return b.String()
}

// Show is the entry as String gives it, and below that its line with a mark.
func (e Entry) Show(c Colors) string {
	if e.Excerpt.Text == "" {
		return e.String() + "\n"
	}
	number := fmt.Sprintf("%5d | ", e.Line)
	empty := strings.Repeat(" ", len(number)-2) + "| " + strings.Repeat(" ", e.Excerpt.Column-1)
	return c.Bold + e.String() + c.End + "\n" + number + e.Excerpt.Text + "\n" +
		empty + c.Mark + strings.Repeat("^", max(1, e.Excerpt.Width)) + c.End + "\n"
}

// Err is nil for a report without errors; otherwise its text is the errors,
// one a line.
func (r Report) Err() error {
	errs := r.Errors()
	if len(errs) == 0 {
		return nil
	}
	return reportError{errs}
}

type reportError struct{ report Report }

func (e reportError) Error() string {
	return strings.TrimSuffix(e.report.String(), "\n")
}

// Sort orders the entries by file, line, column and path, and drops repeats.
func (r Report) Sort() Report {
	out := slices.Clone(r)
	slices.SortStableFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(out)
}

// Origin is where a value was written: a layer's name, a line and a column
// counted from 1. Line is 0 for a default.
type Origin struct {
	File   string
	Line   int
	Column int
	// Path is what the value is called there: where lists are merged, an item has
	// another number than in its file. Empty is as in the configuration.
	Path string
}

// String is file:line, or "default".
func (o Origin) String() string {
	switch {
	case o.File == "":
		return "default"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Origins tells for each path, such as tls.mode or auth.users[0].name, where
// its value was written. A path that is not in it has its default.
type Origins map[string]Origin

// At is the origin of path, or else of the nearest group that holds it.
func (o Origins) At(path string) Origin {
	for {
		if at, ok := o[path]; ok || path == "" {
			return at
		}
		path = parent(path)
	}
}

// Entry is a mistake in the value at path, at its place and with the path that its
// file has for it.
func (o Origins) Entry(path, message string) Entry {
	known := path
	for {
		if _, ok := o[known]; ok || known == "" {
			break
		}
		known = parent(known)
	}
	at := o[known]
	if at.Path != "" {
		path = at.Path + path[len(known):]
	}
	return Entry{File: at.File, Line: at.Line, Column: at.Column, Path: path, Message: message}
}

// parent is the path of the group or list that holds path.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}
