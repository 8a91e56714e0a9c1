package userdata

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Where the configuration is looked for, below the root.
const (
	instance   = "/var/lib/cloud/instance"
	cloudID    = "/run/cloud-init/cloud-id"
	combined   = "/run/cloud-init/combined-cloud-config.json"
	credential = "redoubt.config"
)

// Source is a machine's configuration. Its zero value reads the machine
// itself, without credentials.
type Source struct {
	// Root is the directory that all paths are below; empty is /.
	Root string
	// Credentials is $CREDENTIALS_DIRECTORY, not below Root; empty is none.
	Credentials string
}

// Found is what a machine's sources hold.
type Found struct {
	// Layers go from the lowest to the highest.
	Layers []config.Layer
	// Report says which sources cannot be read, and why.
	Report config.Report
	// NoNews is set when cloud-init found no datasource, as when the metadata
	// service does not answer: what it had said before still holds.
	NoNews bool
	// Overruled is set when the user-data cannot be used and the operator's own files
	// count alone; the report then has what is wrong in it as warnings.
	Overruled bool

	parts *parts // nil where nothing can be overruled
}

// Parse makes the configuration of all that was found. Its report has both
// what could not be read and what is wrong in what could.
func (f Found) Parse(above ...config.Layer) (config.Config, config.Origins, config.Report) {
	layers := append(slices.Clone(f.Layers), above...)
	cfg, origins, report := config.Parse(layers)
	if len(layers) == 0 && len(f.Report.Errors()) > 0 {
		report = nil // nothing was found because it cannot be read
	}
	return cfg, origins, append(slices.Clone(f.Report), report...).Sort()
}

// Read reads every source, lowest first: the image's files, what the machine was
// restored from, vendor-data, user-data, the credential redoubt.config, and the operator's files. A source
// that does not exist, or has no redoubt: key, adds no layer. Where what the machine
// was given cannot be used, the operator's files count alone if they are complete.
func (s Source) Read() Found {
	var image, given, own Found
	s.directory(&image, paths.ImageDir)
	s.file(&image, paths.Restored)
	s.cloud(&given)
	if s.Credentials != "" {
		s.own(&given, "credential "+credential, filepath.Join(s.Credentials, credential))
	}
	s.file(&own, paths.OperatorFile)
	s.beside(&own)
	s.directory(&own, paths.OperatorDir)
	return overrule(image, given, own)
}

// cloud reads what cloud-init was given. The raw bytes come first: what
// cloud-init makes of them has lost lines, types and repeated keys. Templates,
// includes and archives only cloud-init can expand; then its own merged result
// is read, which has the vendor-data in it too.
func (s Source) cloud(f *Found) {
	id, err := s.read(cloudID)
	if err == nil && strings.TrimSpace(string(id)) == "none" {
		f.NoNews = true
		return
	}
	user := s.decode("user-data")
	all := Decoded{}
	for _, name := range []string{"vendor-data", "vendor-data2"} {
		if !switchedOff(strings.ReplaceAll(name, "-", "_"), user.Layers) {
			all.add(passOver(s.decode(name)))
		}
	}
	all.add(user)
	if all.Expand {
		data, err := s.read(combined)
		if err == nil {
			all.Layers = []config.Layer{{Name: "user-data (as cloud-init merged it)", Data: data, Cloud: true}}
		} else {
			all.Report = append(all.Report, config.Entry{File: "user-data",
				Message: "a template or an include, and cloud-init has left no result of it: " + files.Cause(err).Error()})
		}
	}
	f.Layers, f.Report = all.Layers, all.Report
}

// decode reads what cloud-init keeps below a name: user-data, or the cloud's own.
func (s Source) decode(name string) Decoded {
	data, err := s.read(instance + "/" + name + ".txt")
	if err != nil {
		var f Found
		f.unreadable(name, err)
		return Decoded{Report: f.Report}
	}
	return Decode(name, data)
}

// directory reads the *.yaml files of a directory in the order of their names.
func (s Source) directory(f *Found, dir string) {
	at, err := resolve(s.Root, dir)
	if err != nil {
		f.unreadable(dir, err)
		return
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		f.unreadable(dir, err)
		return
	}
	for _, e := range entries { // sorted by name
		switch name := e.Name(); {
		case strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, "."):
			s.file(f, dir+"/"+name)
		case !strings.HasPrefix(name, ".") || strings.Contains(name, ".y"): // the rest is none of a person's settings
			f.passedOver(dir+"/"+name, "only files whose name ends in .yaml, and does not begin with a dot, are read here")
		}
	}
}

// beside warns of what looks like settings beside the operator's file, which alone is
// read there.
func (s Source) beside(f *Found) {
	at, err := resolve(s.Root, paths.Operator)
	if err != nil {
		return
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return // there is none
	}
	for _, e := range entries {
		name := paths.Operator + "/" + e.Name()
		if ext := filepath.Ext(name); (ext == ".yaml" || ext == ".yml") && name != paths.OperatorFile {
			f.passedOver(name, "settings belong into "+paths.OperatorFile+", or a file of "+paths.OperatorDir+" whose name ends in .yaml")
		}
	}
}

func (f *Found) passedOver(name, why string) {
	f.Report = append(f.Report, config.Entry{File: name, Message: "this file is not read: " + why, Warning: true})
}

func (s Source) file(f *Found, path string) {
	at, err := resolve(s.Root, path)
	if err != nil {
		f.unreadable(path, err)
		return
	}
	s.own(f, path, at)
}

// own reads a file that is ours alone.
func (s Source) own(f *Found, name, path string) {
	data, err := readFile(path)
	if err != nil {
		f.unreadable(name, err)
		return
	}
	f.Layers = append(f.Layers, config.Layer{Name: name, Data: data})
}

func (s Source) read(path string) ([]byte, error) {
	at, err := resolve(s.Root, path)
	if err != nil {
		return nil, err
	}
	return readFile(at)
}

// unreadable reports a source that exists and cannot be read.
func (f *Found) unreadable(name string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		f.Report = append(f.Report, config.Entry{File: name, Message: "cannot read: " + files.Cause(err).Error()})
	}
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("is a directory")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, errors.New("too large: at most 1 MiB is read")
	}
	return data, nil
}

// resolve is where path is below root. A symbolic link of the machine, such as
// cloud-init's instance, is followed as the machine would: from its own root.
func resolve(root, path string) (string, error) {
	if root == "" {
		root = "/"
	}
	rest := strings.Split(strings.Trim(path, "/"), "/")
	done := "/"
	for links := 0; len(rest) > 0; {
		next := filepath.Join(done, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil { // not a link, or not there
			done = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("too many links in %s", path)
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return filepath.Join(root, done), nil
}
