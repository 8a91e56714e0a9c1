package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/packer/debian"
	"github.com/redoubt-registry/redoubt/packer/disk"
	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

// need is the free space in bytes that a build must find in its cache.
const need = 3 << 30

// build is one run of the builder.
type build struct {
	config  Config
	ui      packersdk.Ui
	hook    packersdk.Hook
	lockFD  *os.File
	work    string // scratch: root/, tools/, kernel, initrd, disk.*
	state   debian.State
	version string // of the kernel
	files   []string
}

func (b *build) root() string { return filepath.Join(b.work, "root") }
func (b *build) epoch() int64 { return b.state.Date.Unix() }

// inside is the root as provisioners see it; /tmp lasts for the build.
func (b *build) inside() sandbox.Sandbox {
	return sandbox.Sandbox{
		Root:  b.root(),
		Binds: []sandbox.Bind{{Source: filepath.Join(b.work, "tmp"), Target: "/tmp"}},
		Env:   []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(b.epoch(), 10)},
	}
}

// command runs a script in the root.
func (b *build) command(ctx context.Context, script string, args ...string) error {
	var out bytes.Buffer
	argv := append([]string{"/bin/sh", "-eu", "-c", script, "sh"}, args...)
	if err := b.inside().Run(ctx, sandbox.Streams{Out: &out, Err: &out}, argv...); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// check finds out what is missing before anything is made.
func (b *build) check(context.Context, multistep.StateBag) error {
	if os.Geteuid() != 0 {
		return errors.New("cannot build an image without root: run it as root or with sudo")
	}
	for tool, pkg := range map[string]string{"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "tar": "tar", "/usr/lib/apt/apt-helper": "apt"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("cannot find %s: install the package %s", tool, pkg)
		}
	}
	if err := os.MkdirAll(b.config.CacheDirectory, 0o755); err != nil {
		return fmt.Errorf("cannot make the cache: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(b.config.CacheDirectory, &fs); err != nil {
		return fmt.Errorf("cannot look at the cache: %w", err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need {
		return fmt.Errorf("cannot build an image in %s: %d MiB are free, %d MiB are needed; make room there",
			b.config.CacheDirectory, free>>20, uint64(need)>>20)
	}
	return nil
}

// lock keeps other builds out of the cache, removes what a killed one left
// and makes the scratch directory.
func (b *build) lock(ctx context.Context, _ multistep.StateBag) error {
	cache := b.config.CacheDirectory
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("cannot lock the cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("cannot build while another build uses %s: wait for it to end", cache)
	}
	b.lockFD = f
	stale, err := filepath.Glob(filepath.Join(cache, "work-*"))
	if err != nil {
		return fmt.Errorf("cannot look into the cache: %w", err)
	}
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot remove what an earlier build left: %w", err)
		}
	}
	if b.work, err = os.MkdirTemp(cache, "work-"); err != nil {
		return fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	if err := os.Mkdir(filepath.Join(b.work, "tmp"), 0o1777); err != nil {
		return fmt.Errorf("cannot make a scratch directory: %w", err)
	}
	return os.Chmod(filepath.Join(b.work, "tmp"), 0o777|os.ModeSticky)
}

func (b *build) unlock() {
	if b.work != "" {
		if err := os.RemoveAll(b.work); err != nil {
			b.ui.Error(fmt.Sprintf("cannot remove the scratch directory: %v", err))
		}
	}
	if b.lockFD != nil {
		b.lockFD.Close()
	}
}

func (b *build) suite() debian.Suite {
	return debian.Suite{Name: b.config.Suite, Architecture: architecture, Sources: b.config.Sources}
}

func (b *build) askState(ctx context.Context, _ multistep.StateBag) (err error) {
	b.state, err = b.suite().State(ctx, b.work)
	return err
}

// archived returns the archive of a root, and says so when it was there already.
func (b *build) archived(ctx context.Context, variant string, packages, exclude, include []string) (string, error) {
	request := debian.Request{
		Suite: b.suite(), State: b.state, Variant: variant, Packages: packages, Exclude: exclude, Include: include,
	}
	log, err := os.Create(filepath.Join(b.config.CacheDirectory, variant+".log"))
	if err != nil {
		return "", fmt.Errorf("cannot write a log: %w", err)
	}
	defer log.Close()
	path, cached, err := debian.Archive(ctx, b.config.CacheDirectory, b.work, request, log)
	if err != nil {
		return "", err
	}
	if cached {
		b.ui.Say("from the cache")
	}
	return path, debian.Prune(b.config.CacheDirectory, variant, 3)
}

func (b *build) bootstrap(ctx context.Context, _ multistep.StateBag) error {
	path, err := b.archived(ctx, "minbase", b.config.Packages, b.config.Exclude, b.config.Include)
	if err != nil {
		return err
	}
	return debian.Unpack(ctx, path, b.root())
}

func (b *build) unpackTools(ctx context.Context, _ multistep.StateBag) error {
	path, err := b.archived(ctx, "extract", disk.Packages(), nil, nil)
	if err != nil {
		return err
	}
	return debian.Unpack(ctx, path, filepath.Join(b.work, "tools"))
}

// provision has Packer run the provisioners, by their way in. What is there for
// them beside it is what this builder knows. The SDK's own step does the same, and
// brings the clients of two clouds with it, which take minutes to compile.
func (b *build) provision(ctx context.Context, state multistep.StateBag) error {
	data := map[string]any{"ID": b.config.Image + "-" + b.config.Version, "PackerRunUUID": os.Getenv("PACKER_RUN_UUID")}
	way := sandbox.Communicator{Sandbox: b.inside()}
	done := make(chan error, 1)
	go func() { done <- b.hook.Run(ctx, packersdk.HookProvision, b.ui, way, data) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
