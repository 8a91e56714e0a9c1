package sbom

import (
	"os"
	"slices"
	"strings"
)

// debianLicence reads a package's copyright file (Debian's machine-readable
// format, DEP-5) and returns an SPDX expression of all licences in it, or
// NOASSERTION if one of them has no name in SPDX's list that we know.
func debianLicence(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(data), "Format:") {
		return noAssertion
	}
	var all []string
	for line := range strings.Lines(string(data)) {
		name, ok := strings.CutPrefix(line, "License:")
		if !ok {
			continue
		}
		expr, ok := spdxExpression(strings.TrimSpace(name))
		if !ok {
			return noAssertion
		}
		if !slices.Contains(all, expr) {
			all = append(all, expr)
		}
	}
	if len(all) == 0 {
		return noAssertion
	}
	slices.Sort(all)
	return strings.Join(all, " AND ")
}

// spdxExpression translates "GPL-2+ or Expat" and the like.
func spdxExpression(name string) (string, bool) {
	var alternatives []string
	for alternative := range strings.SplitSeq(name, " or ") {
		id, ok := spdxName(strings.TrimSpace(alternative))
		if !ok {
			return "", false
		}
		alternatives = append(alternatives, id)
	}
	if len(alternatives) > 1 {
		return "(" + strings.Join(alternatives, " OR ") + ")", true
	}
	return alternatives[0], true
}

// spdxName translates a licence's short name in DEP-5 to SPDX's.
func spdxName(name string) (string, bool) {
	switch name {
	case "Expat", "MIT":
		return "MIT", true
	case "Apache-2.0", "Apache-2":
		return "Apache-2.0", true
	case "BSD-2-clause", "BSD-2-Clause":
		return "BSD-2-Clause", true
	case "BSD-3-clause", "BSD-3-Clause":
		return "BSD-3-Clause", true
	case "ISC", "Zlib", "CC0-1.0", "MPL-2.0", "BSL-1.0", "0BSD", "X11", "PSF-2.0", "FSFAP", "FSFUL":
		return name, true
	case "zlib":
		return "Zlib", true
	}
	for _, family := range []string{"GPL", "LGPL", "AGPL", "GFDL"} {
		version, ok := strings.CutPrefix(name, family+"-")
		if !ok {
			continue
		}
		suffix := "-only"
		if v, later := strings.CutSuffix(version, "+"); later {
			version, suffix = v, "-or-later"
		}
		if !strings.Contains(version, ".") {
			version += ".0"
		}
		known := map[string][]string{
			"GPL": {"1.0", "2.0", "3.0"}, "LGPL": {"2.0", "2.1", "3.0"}, "AGPL": {"3.0"}, "GFDL": {"1.1", "1.2", "1.3"},
		}
		if slices.Contains(known[family], version) {
			return family + "-" + version + suffix, true
		}
	}
	return "", false
}
