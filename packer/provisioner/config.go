//go:generate ../../.cache/tools/packer-sdc mapstructure-to-hcl2 -type Config

package provisioner

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/redoubt-registry/redoubt/butane"
)

// Config is what a template says in provisioner "redoubt-butane".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// File is the Butane file.
	File string `mapstructure:"file" required:"true"`
	// FilesDirectory is where its local contents are.
	FilesDirectory string `mapstructure:"files_directory" required:"true"`
	// Elevate is put before the one command that needs root, such as "sudo".
	Elevate string `mapstructure:"elevate"`
}

// prepare reads the template's words and the Butane file, and reports every
// mistake in them: so "packer validate" does.
func (c *Config) prepare(raws ...any) (butane.Declaration, error) {
	err := config.Decode(c, &config.DecodeOpts{PluginType: "redoubt-butane", Interpolate: true}, raws...)
	if err != nil {
		return butane.Declaration{}, err
	}
	if c.File == "" || c.FilesDirectory == "" {
		return butane.Declaration{}, errors.New("file, files_directory: both must be given")
	}
	bu, err := os.ReadFile(c.File)
	if err != nil {
		return butane.Declaration{}, fmt.Errorf("cannot read the Butane file: %w", err)
	}
	d, err := butane.Declare(bu, c.FilesDirectory)
	if err != nil {
		var lines []string
		for line := range strings.SplitSeq(err.Error(), "\n") {
			separator := ": "
			if line != "" && line[0] >= '0' && line[0] <= '9' { // line:column
				separator = ":"
			}
			lines = append(lines, c.File+separator+line)
		}
		return d, errors.New(strings.Join(lines, "\n"))
	}
	return d, nil
}
