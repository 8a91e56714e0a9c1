package userdata

import (
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// ReadFiles reads configuration files of any form as one configuration, the
// lowest first. Where user-data among them cannot be used, those above it count alone
// if they are complete, as on a machine.
func ReadFiles(paths []string) Found {
	var given, own Found
	for _, path := range paths {
		d := readAny(path)
		f := Found{Layers: d.Layers, Report: d.Report}
		if len(own.Layers) == 0 && forCloud(d) {
			given = join(given, f)
		} else {
			own = join(own, f)
		}
	}
	return overrule(Found{}, given, own)
}

// forCloud tells whether a file is what a cloud is given, or what cannot be told.
func forCloud(d Decoded) bool {
	cloud := func(l config.Layer) bool { return l.Cloud }
	return d.Report.Err() != nil || slices.ContainsFunc(d.Layers, cloud)
}

// readAny reads a file: cloud-config, MIME, gzip, or ours alone.
func readAny(path string) Decoded {
	data, err := readFile(path)
	if err != nil {
		return Decoded{Report: config.Report{{File: path, Message: "cannot read: " + files.Cause(err).Error()}}}
	}
	d := Decode(path, data)
	switch {
	case d.Expand:
		d.Report = append(d.Report, config.Entry{File: path,
			Message: "a template, an include or an archive: only cloud-init on the machine can expand it"})
	case len(d.Layers) == 0 && d.Report.Err() == nil && bare(data):
		d.Layers = []config.Layer{{Name: path, Data: data}}
	}
	return d
}

// bare tells whether data may be the configuration without a redoubt: key: it
// is no script and no document of another kind.
func bare(data []byte) bool {
	text := strings.TrimSpace(string(data))
	return text != "" && !strings.HasPrefix(text, "#!") && !strings.HasPrefix(text, "#cloud-")
}
