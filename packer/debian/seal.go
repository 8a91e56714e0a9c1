package debian

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dropped is what a machine makes for itself, or what only its build needed:
// glob patterns under the root.
func dropped() []string {
	return []string{
		"etc/ssh/ssh_host_*", "etc/hostname", "etc/.pwd.lock", "etc/*-", "etc/machine-info",
		"root/.*_history", "root/.cache", "root/.ssh",
		"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret", "var/lib/dbus/machine-id",
		"var/lib/cloud/*", "var/lib/dhcpcd/*", "var/lib/dhcp/*",
		"var/lib/apt/lists/*", "var/lib/dpkg/*-old", "var/lib/dpkg/lock*",
		"var/lib/initramfs-tools/*", "var/lib/ucf/*.[0-9]", "var/lib/ucf/cache",
		"var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/cache/man",
		"var/backups/*", "var/tmp/*", "tmp/*", "run/*", "boot/*",
	}
}

// Seal removes from root all that must not be in an image: keys, identity,
// logs, caches and scratch files. A directory for logs stays, empty.
func Seal(root string) error {
	for _, pattern := range dropped() {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("cannot look for %s: %w", pattern, err)
		}
		for _, p := range paths {
			if err := os.RemoveAll(p); err != nil {
				return fmt.Errorf("cannot remove %s: %w", p, err)
			}
		}
	}
	if err := dropLogs(filepath.Join(root, "var/log")); err != nil {
		return err
	}
	// Empty, not absent: systemd keeps the identity that it makes here.
	id := filepath.Join(root, "etc/machine-id")
	if err := errors.Join(os.WriteFile(id, nil, 0o444), os.Chmod(id, 0o444)); err != nil {
		return fmt.Errorf("cannot empty the machine's identity: %w", err)
	}
	// Newer than all in /usr: the first boot need not rebuild its caches.
	for _, p := range []string{"etc/.updated", "var/.updated"} {
		if err := os.WriteFile(filepath.Join(root, p), nil, 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %w", p, err)
		}
	}
	return nil
}

func dropLogs(dir string) error {
	return filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Remove(p)
	})
}

// Package is an installed package.
type Package struct {
	Name, Version, Architecture string
	Source                      string // source package's name
	SourceVersion               string
	Maintainer                  string
}

// Installed reads the packages of root from dpkg's status file, by name.
func Installed(root string) ([]Package, error) {
	data, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the list of packages: %w", err)
	}
	var all []Package
	for paragraph := range strings.SplitSeq(string(data), "\n\n") {
		field := fields(paragraph)
		if !strings.HasSuffix(field["Status"], " installed") {
			continue
		}
		p := Package{
			Name: field["Package"], Version: field["Version"], Architecture: field["Architecture"],
			Source: field["Package"], SourceVersion: field["Version"], Maintainer: field["Maintainer"],
		}
		if source, version, _ := strings.Cut(field["Source"], " "); source != "" {
			p.Source = source
			if version != "" {
				p.SourceVersion = strings.Trim(version, "()")
			}
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Package) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// fields reads one paragraph in the syntax of deb822(5), first lines only.
func fields(paragraph string) map[string]string {
	f := make(map[string]string)
	for line := range strings.Lines(paragraph) {
		if name, value, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			f[name] = strings.TrimSpace(value)
		}
	}
	return f
}
