// Package foreign makes user-data of what a person has for another registry: the stock
// registry's config.yml and its environment, Compose files, docker run, Kubernetes
// manifests, htpasswd and certificate files, the values of helm charts, and what Harbor
// and GitLab have for their registries.
package foreign

import (
	"fmt"
	"path"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// File is a file that a person names.
type File struct {
	Name string
	Data []byte
}

// Options are what Import needs beside the files.
type Options struct {
	// Hostname is the name or address of the machine; empty takes the one in the files.
	Hostname string
	// Open reads a file that a Compose file mounts or names, by a path that is relative
	// to the working directory; nil opens none.
	Open func(name string) ([]byte, error)
	// Incomplete makes a document also where something is missing that the files name.
	// Else that is an error: without its logins, its certificate or its client CAs a
	// registry is another one.
	Incomplete bool
}

// Note is something that was not carried over, or needs a person's eye.
type Note struct {
	Section string // the key of the document that it belongs to, such as tls
	Source  string // the name of the file
	Text    string // it holds no value that may be a secret
	Missing bool   // it is of something that was not given, and could be
}

// String is the note as one line.
func (n Note) String() string { return printable(path.Base(n.Source) + ": " + n.Text) }

// Result is what Import makes.
type Result struct {
	// Document is the user-data, with a comment for each note. It holds every secret of
	// the files.
	Document []byte
	Notes    []Note
	// Report is what validation says of the document. With errors it is not to be used.
	Report config.Report
}

// Import makes a document of files. Its errors are of files that cannot be read as what
// they are; what a file says and the appliance cannot do is a note.
func Import(files []File, o Options) (Result, error) {
	d := &draft{given: files, open: o.Open, incomplete: o.Incomplete, stock: map[string]any{}, out: newSection()}
	if o.Hostname != "" {
		d.names = append(d.names, o.Hostname)
	}
	for _, f := range files {
		d.source = f.Name
		if err := d.read(f); err != nil {
			return Result{}, fmt.Errorf("cannot import %s: %w", f.Name, err)
		}
	}
	if d.main == "" && len(files) > 0 {
		d.main = files[0].Name
	}
	d.variables()
	d.source = d.main
	d.carry()
	return d.document()
}

// draft is what has been read so far.
type draft struct {
	given      []File
	open       func(name string) ([]byte, error)
	incomplete bool           // do without what is missing
	source     string         // the file that is being read
	main       string         // the first file that describes a registry
	images     string         // where a registry without a setting for it keeps its images
	stock      map[string]any // in the stock registry's own words
	env        []assignment   // of the stock registry, laid on stock
	mounts     []mount
	volumes    map[string]string // where a named volume is mounted, and its name
	names      []string          // hostnames, the best first
	mail       string            // for ACME, of a proxy that had it
	acme       bool              // a proxy in front had certificates of an ACME CA
	port       int               // that clients name, or 0
	logins     []string          // whole lines of htpasswd
	noLogin    bool              // something stands for logins that cannot be carried over
	loginTold  bool              // a note says that logins are missing
	pems       []File            // certificates and keys that were named as FILEs
	out        *section
	notes      []Note
}

// assignment is a variable of an environment.
type assignment struct{ name, value, source string }

// mount is a file or directory that a container sees at another path.
type mount struct{ from, at string }

// describes says that the file being read describes a registry, whose images are at a
// path where it says nothing else.
func (d *draft) describes(images string) {
	if d.main == "" {
		d.main = d.source
	}
	if d.images == "" {
		d.images = images
	}
}

// stockImages is where the stock registry keeps images in its container.
const stockImages = "/var/lib/registry"

func (d *draft) note(section, format string, args ...any) {
	d.add(Note{Section: section, Source: d.source, Text: printable(fmt.Sprintf(format, args...))})
}

func (d *draft) add(n Note) {
	for _, other := range d.notes {
		if other == n {
			return
		}
	}
	d.notes = append(d.notes, n)
}

// left notes that a setting was left out, and why.
func (d *draft) left(section, path, why string) {
	d.note(section, notCarried+"%s: %s", path, why)
}

const notCarried = "not carried over: "

// missing notes something that the files name and that was not given, or cannot be used,
// and what is without it.
func (d *draft) missing(section, path, why string) {
	d.add(Note{Section: section, Source: d.source, Text: printable(notCarried + path + ": " + why), Missing: true})
}

// printable is text for a comment: one line, without control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

// file finds what a container sees at a path: below a mount, or among the FILEs by its
// name.
func (d *draft) file(at string) (data []byte, name string, ok bool) {
	best := mount{}
	for _, m := range d.mounts {
		below := at == m.at || strings.HasPrefix(at, strings.TrimSuffix(m.at, "/")+"/")
		if below && len(m.at) > len(best.at) {
			best = m
		}
	}
	host := at
	if best.at != "" {
		host = path.Join(best.from, strings.TrimPrefix(at, best.at))
	}
	for _, f := range d.given {
		if f.Name == host || path.Base(f.Name) == path.Base(host) && path.Base(host) != "." {
			return f.Data, f.Name, true
		}
	}
	if d.open != nil && best.at != "" {
		if data, err := d.open(host); err == nil {
			return data, host, true
		}
	}
	return nil, host, false
}
