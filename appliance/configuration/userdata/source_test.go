package userdata

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine writes files below a new root; a value that starts with -> is a
// symbolic link.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, data := range files {
		at := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(data, "->"); ok {
			err = os.Symlink(target, at)
		} else {
			err = os.WriteFile(at, []byte(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func names(f Found) string {
	var b strings.Builder
	for _, l := range f.Layers {
		b.WriteString(l.Name + "\n")
	}
	return b.String() + f.Report.String()
}

const iid = "/var/lib/cloud/instances/iid-1"

// TestPrecedence has every source set the same key, and takes them away from
// the highest down.
func TestPrecedence(t *testing.T) {
	set := func(name string) string { return "#cloud-config\nredoubt: {hostname: " + name + ".example.com}\n" }
	files := map[string]string{
		"/usr/lib/redoubt/config.d/10-image.yaml": set("image"),
		"/var/lib/cloud/instance":                 "->" + iid, // as cloud-init links it
		iid + "/vendor-data.txt":                  set("vendor"),
		iid + "/user-data.txt":                    set("user"),
		"/run/cloud-init/cloud-id":                "->/run/cloud-init/cloud-id-nocloud",
		"/run/cloud-init/cloud-id-nocloud":        "nocloud\n",
		"/etc/redoubt/config.yaml":                "redoubt: {hostname: etc.example.com}\n",
		"/etc/redoubt/config.d/20-b.yaml":         "hostname: b.example.com\n",
		"/etc/redoubt/config.d/10-a.yaml":         "hostname: a.example.com\n",
		"/etc/redoubt/config.d/README":            "not read",
		"/etc/redoubt/config.d/.hidden.yaml":      "not read",
	}
	credentials := machine(t, map[string]string{"redoubt.config": "hostname: credential.example.com\n"})
	highest := []struct{ path, name string }{
		{"/etc/redoubt/config.d/20-b.yaml", "b"}, {"/etc/redoubt/config.d/10-a.yaml", "a"}, {"/etc/redoubt/config.yaml", "etc"},
		{"", "credential"}, {iid + "/user-data.txt", "user"}, {iid + "/vendor-data.txt", "vendor"},
		{"/usr/lib/redoubt/config.d/10-image.yaml", "image"},
	}
	for i, h := range highest {
		found := Source{Root: machine(t, files), Credentials: credentials}.Read()
		if len(found.Layers) != len(highest)-i {
			t.Errorf("%d layers:\n%s", len(found.Layers), names(found))
		}
		cfg, origins, report := found.Parse()
		if report.Err() != nil || cfg.Hostname != h.name+".example.com" {
			t.Errorf("%s: %s %v", h.name, cfg.Hostname, report)
		}
		if at := origins.At("hostname"); at.File != found.Layers[len(found.Layers)-1].Name || at.Line == 0 {
			t.Errorf("%s: %+v", h.name, at)
		}
		if h.path == "" {
			credentials = ""
		}
		delete(files, h.path)
	}
}

func TestSources(t *testing.T) {
	const user = "/var/lib/cloud/instance/user-data.txt"
	none := "user-data: no \"redoubt:\" key: add \"redoubt:\" with at least \"  hostname: NAME\" below it\n"
	for name, c := range map[string]struct {
		files        map[string]string
		names, wants string
	}{
		"nothing":   {nil, "", none},
		"a script":  {map[string]string{user: "#!/bin/sh\n"}, "", none},
		"not ours":  {map[string]string{user: "#cloud-config\npackages: [a]\n"}, "user-data\n", none},
		"empty":     {map[string]string{user: ""}, "", none},
		"gzip bomb": {map[string]string{user: packed(t, strings.Repeat("a", 2<<20))}, "user-data: cannot unpack: the gzip data unpacks to more than 1 MiB\n", "user-data: cannot unpack: the gzip data unpacks to more than 1 MiB\n"},
		"template without a result": {map[string]string{user: "## template: jinja\n" + good},
			"user-data: a template or an include, and cloud-init has left no result of it: no such file or directory\n",
			"user-data: a template or an include, and cloud-init has left no result of it: no such file or directory\n"},
		"template": {map[string]string{user: "## template: jinja\n#cloud-config\nredoubt: {hostname: '{{ x }}'}\n",
			"/run/cloud-init/combined-cloud-config.json": "{\n \"packages\": [],\n \"redoubt\": {\n  \"hostname\": \"a.example.com\",\n  \"nods\": 1\n }\n}"},
			"user-data (as cloud-init merged it)\n", "user-data (as cloud-init merged it):5:3: redoubt.nods"},
		"directory instead of a file": {map[string]string{"/etc/redoubt/config.yaml/x": ""}, "/etc/redoubt/config.yaml: cannot read: is a directory\n",
			"/etc/redoubt/config.yaml: cannot read: is a directory\n"},
		"link loop": {map[string]string{"/etc/redoubt/config.yaml": "->config.yaml"}, "/etc/redoubt/config.yaml: cannot read: too many links in /etc/redoubt/config.yaml\n",
			"/etc/redoubt/config.yaml: cannot read: too many links in /etc/redoubt/config.yaml\n"},
		"link out of the root": {map[string]string{"/etc/redoubt/config.yaml": "->../../../../../../../../../../etc/passwd"}, "", none},
	} {
		t.Run(name, func(t *testing.T) {
			found := Source{Root: machine(t, c.files)}.Read()
			if got := names(found); got != c.names {
				t.Errorf("found:\n%swant:\n%s", got, c.names)
			}
			_, _, report := found.Parse()
			if got := report.Errors().String(); !strings.HasPrefix(strings.ReplaceAll(got, "5:3: nods", "5:3: redoubt.nods"), c.wants) || got == "" {
				t.Errorf("report:\n%swant:\n%s", got, c.wants)
			}
		})
	}
}

// TestNoNews is a reboot without the metadata service: cloud-init points to an
// empty instance and calls its datasource none.
func TestNoNews(t *testing.T) {
	root := machine(t, map[string]string{
		"/run/cloud-init/cloud-id":                "->/run/cloud-init/cloud-id-none",
		"/run/cloud-init/cloud-id-none":           "none\n",
		"/var/lib/cloud/instance/user-data.txt":   "",
		"/var/lib/cloud/instance/vendor-data.txt": good,
		"/etc/redoubt/config.yaml":                "nodes: 1\n",
	})
	found := Source{Root: root}.Read()
	if !found.NoNews || names(found) != "/etc/redoubt/config.yaml\n" {
		t.Errorf("%v:\n%s", found.NoNews, names(found))
	}
}
