package config

import (
	"path"
	"regexp"
)

var systemDirs = regexp.MustCompile(`^/(bin|boot|dev|efi|etc|home|lib|lib32|lib64|libx32|lost\+found|proc|root|run|sbin|sys|tmp|usr)(/|$)` +
	`|^/(var|mnt|media|opt|srv)$|^/var/(lib|tmp|log|cache|run|lock|spool|backups|mail)$` +
	`|^/var/(log|cache|run|lock|spool|backups|mail|tmp)/` +
	`|^/var/lib/(cloud|dpkg|systemd|dbus|apt|private)(/|$)` +
	`|^/var/lib/redoubt($|/(acme|ca|certificates|challenges|client-ca|config|generations|health|secrets)(/|$))`)

func (st Storage) validate(s spot) {
	switch {
	case st.Filesystem != nil && st.S3 != nil:
		s.fail("exactly one of filesystem and s3; leave the other out")
	case st.Filesystem != nil:
		st.Filesystem.validate(s.at("filesystem"))
	case st.S3 != nil:
		st.S3.validate(s.at("s3"))
	}
}

func (f Filesystem) validate(s spot) { f.validatePath(s.at("root")) }

func (f Filesystem) validatePath(at spot) {
	switch {
	case !path.IsAbs(f.Root):
		at.fail("must be an absolute path")
	case path.Clean(f.Root) != f.Root:
		at.fail("must be a plain path, without .. or // or a / at its end")
	case f.Root == "/" || systemDirs.MatchString(f.Root):
		at.fail("belongs to the system: choose a directory of its own, such as /var/lib/redoubt/registry")
	case !safePath.MatchString(f.Root):
		at.fail("only letters, digits and . _ - + @ between the slashes")
	}
}
