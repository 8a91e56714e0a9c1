package butane

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/coreos/ignition/v2/config/v3_6/types"
	"github.com/vincent-petithory/dataurl"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// refuseNodes names what a file, directory or link asks for in vain.
func refuseNodes(s types.Storage) error {
	var errs []error
	no := func(path, key, why string) {
		errs = append(errs, fmt.Errorf("cannot honour %s of %s: %s", key, path, why))
	}
	node := func(n types.Node, mode *int) {
		if n.User.ID != nil || n.Group.ID != nil {
			no(n.Path, "user.id or group.id", "name the user and the group; the machine has the numbers")
		}
		if mode != nil && *mode&^0o777 != 0 {
			no(n.Path, "mode", "only permission bits, up to 0777")
		}
	}
	for _, f := range s.Files {
		node(f.Node, f.Mode)
		if len(f.Append) > 0 {
			no(f.Path, "append", "what is there already is not known here; say contents")
		}
		if f.Contents.Source == nil {
			no(f.Path, "missing contents", `say contents, an empty file's is inline: ""`)
		}
		if len(f.Contents.HTTPHeaders) > 0 {
			no(f.Path, "http_headers", "contents must be inline or local")
		}
	}
	for _, d := range s.Directories {
		node(d.Node, d.Mode)
		if d.Overwrite != nil && *d.Overwrite {
			no(d.Path, "overwrite", "a directory is added to, never emptied")
		}
	}
	for _, l := range s.Links {
		node(l.Node, nil)
		if l.Hard != nil && *l.Hard {
			no(l.Path, "hard", "only symbolic links")
		}
		if l.User.Name != nil || l.Group.Name != nil {
			no(l.Path, "user or group", "a link has no owner that matters")
		}
	}
	return errors.Join(errs...)
}

func storageFiles(s types.Storage) ([]tree.File, error) {
	var files []tree.File
	for _, f := range s.Files {
		data, err := contents(f.Contents)
		if err != nil {
			return nil, fmt.Errorf("cannot read the contents of %s: %w", f.Path, err)
		}
		files = append(files, file(f.Node, mode(f.Mode, 0o644), data))
	}
	for _, d := range s.Directories {
		files = append(files, file(d.Node, mode(d.Mode, 0o755)|fs.ModeDir, nil))
	}
	for _, l := range s.Links {
		target := ""
		if l.Target != nil {
			target = *l.Target
		}
		files = append(files, file(l.Node, 0o777|fs.ModeSymlink, []byte(target)))
	}
	return files, nil
}

func file(n types.Node, m fs.FileMode, data []byte) tree.File {
	f := tree.File{Path: n.Path, Mode: m, Data: data}
	if n.User.Name != nil {
		f.Owner = *n.User.Name
	}
	if n.Group.Name != nil {
		f.Group = *n.Group.Name
	}
	return f
}

func mode(m *int, otherwise fs.FileMode) fs.FileMode {
	if m == nil {
		return otherwise
	}
	return fs.FileMode(*m) & fs.ModePerm
}

// contents returns the bytes that a resource holds in itself.
func contents(r types.Resource) ([]byte, error) {
	u, err := dataurl.DecodeString(*r.Source)
	if err != nil {
		return nil, errors.New("cannot honour a remote source: contents must be inline or local")
	}
	if r.Verification.Hash != nil {
		return nil, errors.New("cannot honour verification: contents that are inline or local need none")
	}
	switch compression := cmp.Or(r.Compression, new(string)); *compression {
	case "":
		return u.Data, nil
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(u.Data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	default:
		return nil, fmt.Errorf("cannot honour compression %q", *compression)
	}
}

// replaced lists the paths that the file says to overwrite. Ignition always
// writes units, drop-ins and presets.
func replaced(cfg types.Config) []string {
	var paths []string
	add := func(n types.Node) {
		if n.Overwrite != nil && *n.Overwrite {
			paths = append(paths, n.Path)
		}
	}
	for _, f := range cfg.Storage.Files {
		add(f.Node)
	}
	for _, l := range cfg.Storage.Links {
		add(l.Node)
	}
	for _, f := range unitFiles(cfg.Systemd) {
		paths = append(paths, f.Path)
	}
	slices.Sort(paths)
	return paths
}
