// Package builder is Packer's builder "redoubt-debian": it makes a Debian root
// natively, with neither a virtual machine nor a mount on the host, lets the
// provisioners work in it, and makes a bootable disk image out of it. Equal
// inputs and an unchanged archive of Debian give equal bytes.
package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// ID is the builder's id in its artifacts.
const ID = "redoubt.debian"

// Builder implements Packer's interface.
type Builder struct{ config Config }

var _ packersdk.Builder = (*Builder)(nil)

// ConfigSpec returns the shape of the source block.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the source block.
func (b *Builder) Prepare(raws ...any) (variables, warnings []string, err error) {
	return nil, nil, b.config.prepare(raws...)
}

// Run makes the image. When it fails or ctx ends, each step that started
// cleans up, the last one first.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	state := new(multistep.BasicStateBag)
	state.Put("ui", ui)
	m := &build{config: b.config, ui: ui, hook: hook}
	steps := []multistep.Step{
		&step{"", m.check, nil},
		&step{"", m.lock, m.unlock},
		&step{"asking for the state of Debian " + b.config.Suite, m.askState, nil},
		&step{"bootstrapping Debian", m.bootstrap, nil},
		&step{"unpacking the build tools", m.unpackTools, nil},
		&step{"preparing the base", m.prepareBase, nil},
		&step{"provisioning", m.provision, nil},
		&step{"making the initrd", m.initrd, nil},
		&step{"sealing the root", m.seal, nil},
		&step{"making the disk", m.disk, nil},
		&step{"writing the lists of what is inside", m.describe, nil},
		&step{"", m.publish, nil},
	}
	(&multistep.BasicRunner{Steps: steps}).Run(ctx, state)
	if err, ok := state.Get("error").(error); ok {
		return nil, err
	}
	if _, cancelled := state.GetOk(multistep.StateCancelled); cancelled || ctx.Err() != nil {
		return nil, errors.New("the build was cancelled")
	}
	if _, halted := state.GetOk(multistep.StateHalted); halted {
		return nil, errors.New("the build was halted")
	}
	return &artifact{m.files}, nil
}

// step is one step: what it says, what it does, and what undoes that.
type step struct {
	say  string
	run  func(context.Context, multistep.StateBag) error
	undo func()
}

// Run says what is done and does it.
func (s *step) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	if s.say != "" {
		state.Get("ui").(packersdk.Ui).Say(s.say)
	}
	if err := s.run(ctx, state); err != nil {
		if ctx.Err() == nil {
			state.Put("error", err)
		}
		return multistep.ActionHalt
	}
	return multistep.ActionContinue
}

// Cleanup undoes it, when all is over.
func (s *step) Cleanup(multistep.StateBag) {
	if s.undo != nil {
		s.undo()
	}
}

// artifact is the set of files that a build made.
type artifact struct{ files []string }

// BuilderId tells which builder made the artifact.
func (*artifact) BuilderId() string { return ID }

// Files lists the artifact's files: the image first.
func (a *artifact) Files() []string { return a.files }

// Id is the image's path.
func (a *artifact) Id() string { return a.files[0] }

// String tells where the files are.
func (a *artifact) String() string { return fmt.Sprintf("image %s", a.files[0]) }

// State holds nothing.
func (*artifact) State(string) any { return nil }

// Destroy leaves the files to whoever asked for them.
func (*artifact) Destroy() error { return nil }
