// Package butane reads a Butane file, the declaration of what belongs into an
// image, into a tree of files. What cannot be honoured by files alone (disks,
// users with passwords, remote contents, kernel arguments) is an error that
// names it; so is every warning and every unknown key.
package butane

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	ignition "github.com/coreos/ignition/v2/config/v3_6"
	"github.com/coreos/ignition/v2/config/v3_6/types"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

// Declaration is what a Butane file declares.
type Declaration struct {
	Tree tree.Tree
	// Replace are the paths at which something else may be, and is removed.
	// At any other path nothing but an equal directory or link may be.
	Replace []string
	// Units are those to which the machine's presets are applied: every unit
	// that the file enables or disables, and every installed one that the
	// tree holds.
	Units []string
}

// Tree returns the files that the Butane file bu declares. Local contents are
// looked up in filesDir.
func Tree(bu []byte, filesDir string) (tree.Tree, error) {
	d, err := Declare(bu, filesDir)
	return d.Tree, err
}

// Declare reads the Butane file bu, whose local contents are in filesDir.
func Declare(bu []byte, filesDir string) (Declaration, error) {
	cfg, err := translate(bu, filesDir)
	if err != nil {
		return Declaration{}, err
	}
	if err := errors.Join(refuse(cfg), refuseNodes(cfg.Storage)); err != nil {
		return Declaration{}, err
	}
	files, err := storageFiles(cfg.Storage)
	if err != nil {
		return Declaration{}, err
	}
	t, err := tree.New(append(files, unitFiles(cfg.Systemd)...)...)
	if err != nil {
		return Declaration{}, err
	}
	return Declaration{Tree: t, Replace: replaced(cfg), Units: presetUnits(cfg.Systemd, t)}, nil
}

// Ignition returns bu as Ignition reads it: for a comparison with Ignition.
func Ignition(bu []byte, filesDir string) ([]byte, error) {
	raw, rep, err := config.TranslateBytes(bu, common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{FilesDir: filesDir, NoResourceAutoCompression: true},
		Raw:              true,
	})
	var errs []error
	for _, e := range rep.Entries {
		where := ""
		if start := e.Marker.StartP; start != nil {
			where = fmt.Sprintf("%d:%d: ", start.Line, start.Column)
		}
		if e.Context.Len() > 0 {
			where += e.Context.String() + ": "
		}
		errs = append(errs, errors.New(where+e.Message))
	}
	if len(errs) == 0 && err != nil {
		errs = append(errs, err)
	}
	return raw, errors.Join(errs...)
}

func translate(bu []byte, filesDir string) (types.Config, error) {
	raw, err := Ignition(bu, filesDir)
	if err != nil {
		return types.Config{}, err
	}
	cfg, rep, err := ignition.ParseCompatibleVersion(raw)
	if err == nil && len(rep.Entries) > 0 {
		err = errors.New(strings.TrimSpace(rep.String()))
	}
	if err != nil {
		return types.Config{}, fmt.Errorf("cannot read the translated file: %w", err)
	}
	return cfg, nil
}

// refuse names every section that asks for more than files.
func refuse(cfg types.Config) error {
	var errs []error
	for name, section := range map[string]any{
		"ignition.config":     cfg.Ignition.Config,
		"ignition.proxy":      cfg.Ignition.Proxy,
		"ignition.security":   cfg.Ignition.Security,
		"ignition.timeouts":   cfg.Ignition.Timeouts,
		"kernel_arguments":    cfg.KernelArguments,
		"passwd":              cfg.Passwd,
		"storage.disks":       cfg.Storage.Disks,
		"storage.filesystems": cfg.Storage.Filesystems,
		"storage.luks":        cfg.Storage.Luks,
		"storage.raid":        cfg.Storage.Raid,
	} {
		if !empty(section) {
			errs = append(errs, fmt.Errorf("cannot honour %s: an image's build takes files, directories, links and units only%s", name, instead(name)))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func instead(name string) string {
	switch name {
	case "passwd":
		return "; declare users in a sysusers.d file"
	case "kernel_arguments":
		return "; say kernel_options in the builder's source"
	}
	return ""
}

// empty tells whether a section says nothing: all its fields are optional.
func empty(section any) bool {
	data, err := json.Marshal(section)
	if err != nil {
		return false
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return false
	}
	return hollow(v)
}

func hollow(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !hollow(e) {
				return false
			}
		}
		return true
	}
	return false
}
