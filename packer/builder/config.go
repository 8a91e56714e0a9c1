//go:generate sh -c "cd ../tools/sdc && go build -o ../../../.cache/tools/packer-sdc github.com/hashicorp/packer-plugin-sdk/cmd/packer-sdc"
//go:generate ../../.cache/tools/packer-sdc mapstructure-to-hcl2 -type Config

package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// Config is what a template says in source "redoubt-debian".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Image is the image's name: its files begin with it.
	Image string `mapstructure:"image" required:"true"`
	// Version of the image: it is in the names of its files, of the root
	// partition and of the boot entry.
	Version string `mapstructure:"version" required:"true"`
	// Title is what a boot menu shows; Image and Version by default.
	Title string `mapstructure:"title"`

	// Suite of Debian, "trixie" by default.
	Suite string `mapstructure:"suite"`
	// Sources are lines of sources.list, to name a mirror; by default those
	// that mmdebstrap chooses.
	Sources []string `mapstructure:"sources"`
	// Packages are installed besides Debian's essential ones and apt.
	Packages []string `mapstructure:"packages" required:"true"`
	// Exclude and Include are patterns of paths that dpkg leaves out, and of
	// those that it installs nevertheless.
	Exclude []string `mapstructure:"exclude"`
	Include []string `mapstructure:"include"`
	// Files is a directory whose content is copied over the root, as root's.
	Files string `mapstructure:"files"`
	// Enable are units to enable.
	Enable []string `mapstructure:"enable"`
	// InitrdModules are the kernel modules that the initrd holds.
	InitrdModules []string `mapstructure:"initrd_modules" required:"true"`
	// KernelOptions is the kernel command line after root=.
	KernelOptions string `mapstructure:"kernel_options"`

	// Partitions is a directory of systemd-repart definitions.
	Partitions string `mapstructure:"partitions" required:"true"`
	// DiskSize is the virtual size of the disk in GiB, 10 by default.
	DiskSize int64 `mapstructure:"disk_size"`
	// Programs are Go programs in the image whose modules the SBOM lists.
	Programs []string `mapstructure:"programs"`

	// CacheDirectory keeps bootstraps between builds and holds scratch files.
	CacheDirectory string `mapstructure:"cache_directory" required:"true"`
	// OutputDirectory is where the files go, when all of them are made.
	OutputDirectory string `mapstructure:"output_directory" required:"true"`
}

// architecture is the one that the boot chain is written for.
const architecture = "amd64"

// prepare reads the template's words and reports every mistake in them.
func (c *Config) prepare(raws ...any) error {
	err := config.Decode(c, &config.DecodeOpts{PluginType: "redoubt-debian", Interpolate: true}, raws...)
	if err != nil {
		return err
	}
	if c.Suite == "" {
		c.Suite = "trixie"
	}
	if c.DiskSize == 0 {
		c.DiskSize = 10
	}
	if c.Title == "" {
		c.Title = c.Image + " " + c.Version
	}
	return errors.Join(c.checkNames(), c.checkPaths())
}

func (c *Config) checkNames() error {
	var errs []error
	// A partition's label, "root_" and the version, has at most 36 letters.
	for _, word := range []struct {
		key, value string
		limit      int
	}{{"image", c.Image, 31}, {"version", c.Version, 31}, {"suite", c.Suite, 31}} {
		if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.~-]*$`).MatchString(word.value) || len(word.value) > word.limit {
			errs = append(errs, fmt.Errorf("%s: %q is not a word of at most %d letters, digits, '.', '~' and '-'", word.key, word.value, word.limit))
		}
	}
	if c.DiskSize < 5 {
		errs = append(errs, fmt.Errorf("disk_size: %d GiB is too little for two root slots and data; say at least 5", c.DiskSize))
	}
	if len(c.Packages) == 0 {
		errs = append(errs, errors.New("packages: it is empty; name at least a kernel and systemd-sysv"))
	}
	if len(c.InitrdModules) == 0 {
		errs = append(errs, errors.New("initrd_modules: it is empty; name at least the drivers of the disk"))
	}
	for _, m := range c.InitrdModules {
		if !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(m) {
			errs = append(errs, fmt.Errorf("initrd_modules: %q is not a module's name", m))
		}
	}
	return errors.Join(errs...)
}

// checkPaths makes every path absolute: the plugin works in other directories.
func (c *Config) checkPaths() error {
	var errs []error
	for _, dir := range []struct {
		key       string
		path      *string
		mustExist bool
	}{
		{"files", &c.Files, c.Files != ""}, {"partitions", &c.Partitions, true},
		{"cache_directory", &c.CacheDirectory, false}, {"output_directory", &c.OutputDirectory, false},
	} {
		if *dir.path == "" {
			if dir.key != "files" {
				errs = append(errs, fmt.Errorf("%s: it must be given", dir.key))
			}
			continue
		}
		abs, err := filepath.Abs(*dir.path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir.key, err))
			continue
		}
		*dir.path = abs
		if info, err := os.Stat(abs); dir.mustExist && (err != nil || !info.IsDir()) {
			errs = append(errs, fmt.Errorf("%s: %s is not a directory", dir.key, abs))
		}
	}
	if slices.Contains([]string{"/", "/usr", "/home", "/root"}, c.OutputDirectory) {
		errs = append(errs, fmt.Errorf("output_directory: %s is not a place for a build's output", c.OutputDirectory))
	}
	return errors.Join(errs...)
}
