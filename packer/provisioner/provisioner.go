// Package provisioner is Packer's provisioner "redoubt-butane": it puts what a
// Butane file declares into a machine, through whatever way in the builder has.
package provisioner

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/tmp"

	"github.com/redoubt-registry/redoubt/butane"
)

//go:embed apply.sh
var applyScript string

// Provisioner implements Packer's interface.
type Provisioner struct {
	config      Config
	declaration butane.Declaration
}

var _ packersdk.Provisioner = (*Provisioner)(nil)

// ConfigSpec returns the shape of the provisioner block.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the provisioner block and the Butane file.
func (p *Provisioner) Prepare(raws ...any) (err error) {
	p.declaration, err = p.config.prepare(raws...)
	return err
}

// Provision uploads one archive and one script and runs the script.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, _ map[string]any) error {
	var archive bytes.Buffer
	// Whatever the way in is, it is slower than this.
	z, err := gzip.NewWriterLevel(&archive, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("cannot compress: %w", err)
	}
	if err := errors.Join(p.declaration.Tree.Tar(z, time.Now()), z.Close()); err != nil {
		return err
	}
	name, err := tmp.File("redoubt-butane") // a name that is not taken here is not taken there
	if err != nil {
		return fmt.Errorf("cannot choose a name: %w", err)
	}
	name.Close()
	defer os.Remove(name.Name())
	base := path.Join("/tmp", path.Base(name.Name()))
	ui.Say(fmt.Sprintf("%d files, directories and links, %d units", len(p.declaration.Tree), len(p.declaration.Units)))
	for remote, data := range map[string]string{
		base + ".tar.gz": archive.String(),
		base + ".sh":     Script(p.declaration),
	} {
		if err := comm.Upload(remote, strings.NewReader(data), nil); err != nil {
			return fmt.Errorf("cannot upload %s: %w", remote, err)
		}
	}
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{
		Command: strings.TrimSpace(p.config.Elevate + " /bin/sh " + base + ".sh " + base + ".tar.gz"),
		Stdout:  &out, Stderr: &out,
	}
	if err := comm.Start(ctx, cmd); err != nil {
		return fmt.Errorf("cannot apply %s: %w", p.config.File, err)
	}
	if code := cmd.Wait(); code != 0 {
		return fmt.Errorf("cannot apply %s: exit status %d: %s", p.config.File, code, strings.TrimSpace(out.String()))
	}
	return ctx.Err()
}

// Script returns the shell script that applies a declaration's archive.
func Script(d butane.Declaration) string {
	var paths, owners strings.Builder
	for _, f := range d.Tree {
		kind := "file"
		switch {
		case f.Mode.IsDir():
			kind = "directory"
		case !f.Mode.IsRegular():
			kind = "link"
		}
		if kind != "directory" {
			for _, r := range d.Replace {
				if r == f.Path {
					kind = "replace"
				}
			}
		}
		fmt.Fprintf(&paths, "%s\t%s\t%s\n", kind, f.Path, linkTarget(f.Mode.IsRegular() || f.Mode.IsDir(), f.Data))
		if f.Owner != "" {
			fmt.Fprintf(&owners, "passwd\t%s\n", f.Owner)
		}
		if f.Group != "" {
			fmt.Fprintf(&owners, "group\t%s\n", f.Group)
		}
	}
	return strings.NewReplacer(
		"@PATHS@", strings.TrimSpace(paths.String()),
		"@OWNERS@", strings.TrimSpace(owners.String()),
		"@UNITS@", strings.Join(d.Units, "\n"),
	).Replace(applyScript)
}

func linkTarget(notLink bool, data []byte) string {
	if notLink {
		return ""
	}
	return string(data)
}
