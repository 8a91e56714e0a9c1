package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/config"
)

// The bounds that the units themselves carry.
const (
	unitHTTPSPort   = 443
	unitHTTPPort    = 80
	unitStopTimeout = 75 * time.Second // of redoubt-registry.service
	stopMargin      = 15 * time.Second // for what follows draining
)

// socketDropIn sets the ports where they are not the unit's own. Without TLS
// there is one port, and only this machine reaches it.
func socketDropIn(cfg config.Config) string {
	https, http := cfg.Listen.HTTPSPort, cfg.Listen.HTTPPort
	if cfg.TLS.Mode == "off" {
		port := Port(cfg)
		return fmt.Sprintf("[Socket]\nListenStream=\nListenStream=127.0.0.1:%d\nListenStream=[::1]:%d\n", port, port)
	}
	if https == unitHTTPSPort && http == unitHTTPPort {
		return ""
	}
	ports := fmt.Sprintf("[Socket]\nListenStream=\nListenStream=%d\n", https)
	if http != 0 {
		ports += fmt.Sprintf("ListenStream=%d\n", http)
	}
	return ports
}

// registryDropIn gives the registry its storage where that is not the unit's
// own, and the time to drain.
func registryDropIn(cfg config.Config) string {
	var unit, service strings.Builder
	if fs := cfg.Storage.Filesystem; fs != nil && fs.Root != StorageRoot {
		root := fs.Root // of plain characters: nothing here needs quotes
		fmt.Fprintf(&unit, "RequiresMountsFor=%s\n", root)
		// A new disk belongs to root. The plus sign: the sandbox could not
		// make the directory that it is about to let the registry into.
		fmt.Fprintf(&service, "ExecStartPre=+/usr/bin/install -d -o %s -g %s -m 0750 %s\n", group, group, root)
		fmt.Fprintf(&service, "ReadWritePaths=-%s\n", root)
	}
	if stop := cfg.Listen.DrainTimeout + stopMargin; stop > unitStopTimeout {
		fmt.Fprintf(&service, "TimeoutStopSec=%d\n", int(stop.Seconds()))
	}
	var b strings.Builder
	if unit.Len() > 0 {
		b.WriteString("[Unit]\n" + unit.String())
	}
	if service.Len() > 0 {
		b.WriteString("[Service]\n" + service.String())
	}
	return b.String()
}

// watchDropIn names the files that are watched: a change of one is taken up at
// once, not at the next tick of the timer.
func watchDropIn(cfg config.Config) string {
	paths := Watched(cfg)
	if paths == nil {
		return ""
	}
	return "[Path]\nPathChanged=" + strings.Join(paths, "\nPathChanged=") + "\n"
}

// Watched are the files outside that certificates come from.
func Watched(cfg config.Config) []string {
	values := []config.Secret{config.Secret(cfg.TLS.InternalCA.Certificate), cfg.TLS.InternalCA.PrivateKey}
	if cfg.TLS.Mode == "files" {
		values = append(values, config.Secret(cfg.TLS.Files.Certificate), cfg.TLS.Files.PrivateKey)
	}
	if cfg.TLS.ClientAuth.Mode != "none" {
		for _, v := range slices.Concat(cfg.TLS.ClientAuth.CAs, cfg.TLS.ClientAuth.CRLs) {
			values = append(values, config.Secret(v))
		}
	}
	var paths []string
	for _, v := range values {
		if path, ok := strings.CutPrefix(string(v), "file:"); ok && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}
