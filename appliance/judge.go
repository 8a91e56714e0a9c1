package appliance

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// outcome is what a valid configuration comes to: the files of a machine, and the
// secrets that it keeps.
type outcome struct {
	files tree.Tree
	kept  secrets.Kept
}

// realize is the one way from a configuration to files: apply, render and validate
// take it, so that none of them accepts what another one refuses.
func realize(cfg config.Config, r secrets.Resolver, kept secrets.Kept) (outcome, error) {
	facts, kept, err := r.Facts(cfg, kept)
	if err != nil {
		return outcome{}, err
	}
	files, err := render.Tree(cfg, facts)
	return outcome{files: files, kept: kept}, err
}

// judge parses what was found and realizes it. The report has all that is wrong, each
// at its line.
func judge(found userdata.Found, r secrets.Resolver, kept secrets.Kept, now time.Time) (outcome, config.Report) {
	cfg, origins, report := found.Parse()
	if report.Err() != nil {
		return outcome{}, report
	}
	out, err := realize(cfg, r, kept)
	if err == nil {
		err = brought(cfg, r, now)
	}
	if err == nil {
		return out, report
	}
	report = append(report, entries(err, origins).Excerpts(found.Layers)...).Sort()
	if len(found.Given().Layers) > 0 {
		_, given := judge(found.Given(), r, kept, now)
		if alone, ok := found.Alone(report, given); ok {
			return judge(alone, r, kept, now)
		}
	}
	return out, report
}

// brought checks the certificate, or the CA, that a configuration brings.
func brought(cfg config.Config, r secrets.Resolver, now time.Time) error {
	names := target{cfg: cfg}.names()
	var err error
	switch {
	case len(names) == 0:
	case cfg.TLS.Mode == "files":
		_, err = r.Pair(cfg.TLS.Files, names, now)
	case cfg.TLS.Mode == "internal-ca" && cfg.TLS.InternalCA.Certificate != "":
		_, err = r.CA(cfg.TLS.InternalCA, names, now)
	}
	return err
}

// Validate reports all there is to say about a configuration file: of one below
// /etc/redoubt of the machine in root as a layer of that machine, of any other by
// itself. What that names as kept elsewhere is not looked for.
func Validate(root, path, credentials string, now time.Time) config.Report {
	if name, ok := LayerName(root, path); ok {
		return validateLayer(userdata.Source{Root: root, Credentials: credentials}, name, now)
	}
	found := userdata.ReadFiles([]string{path})
	_, report := judge(found, secrets.Resolver{Elsewhere: true}, secrets.Kept{}, now)
	for i := range report {
		if report[i].File == "" || len(found.Layers) == 0 {
			report[i].File = path
		}
	}
	return report
}

// LayerName is what a file below /etc/redoubt of the machine in root is called there.
// ok is false for other files.
func LayerName(root, path string) (name string, ok bool) {
	whole, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	name = "/" + strings.TrimPrefix(strings.TrimPrefix(whole, filepath.Clean(root)), "/")
	below := strings.HasPrefix(whole, filepath.Clean(root)) && operators(name)
	return name, below && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || filepath.Dir(name) == paths.OperatorDir)
}

// validateLayer judges the machine's configuration, and says of it what concerns one
// file, and what stops an apply.
func validateLayer(source userdata.Source, name string, now time.Time) config.Report {
	found := source.Read()
	r := secrets.Resolver{Root: source.Root, Credentials: source.Credentials}
	var kept secrets.Kept
	have, err := disk.Read(source.Root, secrets.Paths())
	if err == nil {
		kept, err = secrets.Load(have)
	}
	_, all := judge(found, r, kept, now)
	if err != nil {
		all = append(all, config.Entry{Message: err.Error()})
	}
	read := slices.ContainsFunc(found.Layers, func(l config.Layer) bool { return l.Name == name })
	var report config.Report
	for _, e := range append(all, config.Shadowed(found.Layers, operators, ofImage)...) {
		if e.File == name || !e.Warning {
			e.Warning = e.Warning && read
			report = append(report, e)
		}
	}
	if !read && report.Err() == nil {
		report = append(report, config.Entry{File: name, Message: fmt.Sprintf("this file is not read: settings belong into %s, or a file of %s whose name ends in .yaml",
			paths.OperatorFile, paths.OperatorDir)})
	}
	return report.Sort()
}
