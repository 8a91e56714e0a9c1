package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Communicator lets Packer's provisioners work on a Sandbox as they would on
// a machine over SSH. Every path is resolved inside.
type Communicator struct{ Sandbox Sandbox }

var _ packersdk.Communicator = Communicator{}

// Start runs cmd's command by the inside's shell.
func (c Communicator) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	go func() {
		err := c.Sandbox.Run(ctx, Streams{cmd.Stdin, cmd.Stdout, cmd.Stderr}, "/bin/sh", "-c", cmd.Command)
		exit, failed := errors.AsType[ExitError](err)
		switch {
		case failed:
			cmd.SetExited(exit.Code)
		case err != nil:
			if cmd.Stderr != nil {
				fmt.Fprintln(cmd.Stderr, err)
			}
			cmd.SetExited(setupFailed)
		default:
			cmd.SetExited(0)
		}
	}()
	return nil
}

// Upload writes r to the file dst, with the mode that info tells, else 0644.
func (c Communicator) Upload(dst string, r io.Reader, info *os.FileInfo) error {
	mode := fs.FileMode(0o644)
	if info != nil && *info != nil {
		mode = (*info).Mode().Perm()
	}
	return c.run(r, nil, "cannot upload to "+dst, `cat >"$1" && chmod "$2" "$1"`, dst, strconv.FormatUint(uint64(mode), 8))
}

// Download writes the file src to w.
func (c Communicator) Download(src string, w io.Writer) error {
	return c.run(nil, w, "cannot download "+src, `cat "$1"`, src)
}

// UploadDir copies the directory src into dst, itself if src has no trailing
// slash, as rsync does. Names in exclude are left out at every level.
func (c Communicator) UploadDir(dst, src string, exclude []string) error {
	if !strings.HasSuffix(src, "/") {
		dst = path.Join(dst, filepath.Base(src))
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive(w, src, exclude)) }()
	defer r.Close()
	return c.run(r, nil, "cannot upload to "+dst, `mkdir -p "$1" && tar -xf - --no-same-owner -C "$1"`, dst)
}

// DownloadDir copies what the directory src holds into the host's dst.
func (c Communicator) DownloadDir(src, dst string, exclude []string) error {
	args := []string{src}
	for _, e := range exclude {
		args = append(args, "--exclude="+e)
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return fmt.Errorf("cannot download to %s: %w", dst, err)
	}
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(c.run(nil, w, "cannot download "+src, `cd "$1" && shift && tar -cf - "$@" .`, args...))
	}()
	defer r.Close()
	return extract(r, dst)
}

func (c Communicator) run(in io.Reader, out io.Writer, what, script string, args ...string) error {
	var stderr bytes.Buffer
	argv := append([]string{"/bin/sh", "-c", script, "sh"}, args...)
	if err := c.Sandbox.Run(context.Background(), Streams{in, out, &stderr}, argv...); err != nil {
		return fmt.Errorf("%s: %w: %s", what, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

func archive(w io.Writer, dir string, exclude []string) error {
	tw := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == filepath.Clean(dir) {
			return err
		}
		for _, e := range exclude {
			if d.Name() == e && d.IsDir() {
				return fs.SkipDir
			} else if d.Name() == e {
				return nil
			}
		}
		return archiveOne(tw, dir, p, d)
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", dir, err)
	}
	return tw.Close()
}

func archiveOne(tw *tar.Writer, dir, p string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(p); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	if h.Name, err = filepath.Rel(dir, p); err != nil {
		return err
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}

// extract unpacks a tar stream into dst; no name or link in it leads out.
func extract(r io.Reader, dst string) error {
	root, err := os.OpenRoot(dst)
	if err != nil {
		return fmt.Errorf("cannot download to %s: %w", dst, err)
	}
	defer root.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := extractOne(root, h, tr); err != nil {
			return fmt.Errorf("cannot download %s: %w", h.Name, err)
		}
	}
}

func extractOne(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.Clean(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, h.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	default:
		return nil // devices and sockets are not content
	}
}
