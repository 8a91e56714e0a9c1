package userdata

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	userDataFile = "/var/lib/cloud/instance/user-data.txt"
	operatorFile = "/etc/redoubt/config.yaml"
	complete     = "hostname: own.example.com\nauth: {realm: Own}\n"
)

// mistakes are what a person may have given the cloud, each unusable in its own way.
var mistakes = map[string]string{
	"unknown key":    "#cloud-config\nredoubt:\n  hostnme: x.example.com\n",
	"refused value":  "#cloud-config\nredoubt: {hostname: x.example.com, tls: {mode: letsencrypt}}\n",
	"wrong type":     "#cloud-config\nredoubt: {hostname: x.example.com, registry: {log: 5}}\n",
	"wrong list":     "#cloud-config\nredoubt: {hostname: x.example.com, environment: {a: 5}, aliases: 3}\n",
	"tab":            "#cloud-config\nredoubt:\n\thostname: x.example.com\n",
	"broken YAML":    "#cloud-config\nredoubt: {hostname: [\n",
	"two documents":  "#cloud-config\nredoubt: {hostname: x.example.com}\n---\na: 1\n",
	"two keys":       "#cloud-config\nredoubt: {hostname: x.example.com}\nredoubt: {nodes: 2}\n",
	"Latin-1":        "#cloud-config\nredoubt: {hostname: x.example.com} # h\xe9\n",
	"value alone":    "#cloud-config\nredoubt: a\n",
	"broken MIME":    "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\nredoubt: {}\n",
	"broken gzip":    "\x1f\x8bno",
	"template":       "## template: jinja\n#cloud-config\nredoubt: {hostname: x.example.com}\n",
	"mistyped owner": "#cloud-config\nredobt: {hostname: x.example.com}\n",
}

// TestOperatorWins wants a complete document of the operator to count alone when
// what the cloud gave cannot be used, with a warning that says so.
func TestOperatorWins(t *testing.T) {
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			root := machine(t, map[string]string{userDataFile: mistake, operatorFile: complete})
			found := Source{Root: root}.Read()
			cfg, _, report := found.Parse()
			if report.Err() != nil || cfg.Hostname != "own.example.com" || cfg.Auth.Realm != "Own" {
				t.Fatalf("%q, %q, report:\n%s", cfg.Hostname, cfg.Auth.Realm, report)
			}
			said := report.Warnings().String()
			if !strings.Contains(said, operatorFile+": warning: only this is used") || !strings.Contains(said, "user-data") {
				t.Errorf("warnings:\n%s", said)
			}
			if !found.Overruled {
				t.Error("nobody would know that something was passed over")
			}
			files := ReadFiles([]string{filepath.Join(root, userDataFile), filepath.Join(root, operatorFile)})
			if cfg, _, report = files.Parse(); report.Err() != nil || cfg.Hostname != "own.example.com" || len(report.Warnings()) < 2 {
				t.Errorf("as files: %q, report:\n%s", cfg.Hostname, report)
			}
		})
	}
}

// TestOperatorDoesNotWin wants both to count, or the mistake to be said, in all other cases.
func TestOperatorDoesNotWin(t *testing.T) {
	const user = "#cloud-config\nredoubt: {hostname: user.example.com, nodes: 1}\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"both are right":           {map[string]string{userDataFile: user, operatorFile: complete}, ""},
		"the value is set again":   {map[string]string{userDataFile: "#cloud-config\nredoubt: {hostname: 'not a name'}\n", operatorFile: "hostname: own.example.com\n"}, ""},
		"not complete":             {map[string]string{userDataFile: mistakes["unknown key"], operatorFile: "nodes: 1\n"}, "hostnme: unknown key"},
		"its own mistake":          {map[string]string{userDataFile: user, operatorFile: complete + "nods: 1\n"}, "nods: unknown key"},
		"mistakes in both":         {map[string]string{userDataFile: mistakes["tab"], operatorFile: complete + "nods: 1\n"}, "nods: unknown key"},
		"only together":            {map[string]string{userDataFile: "#cloud-config\nredoubt: {hostname: a.example.com, storage: {filesystem: {root: /srv/r}}}\n", operatorFile: complete + "storage: {s3: {bucket: images, region: eu-1, accessKey: AKIAAAAAAAAAAAAAAAAA, secretKey: sssssssssssssssssssssssssssss}}\n"}, "storage"},
		"it is in config.d":        {map[string]string{userDataFile: mistakes["tab"], "/etc/redoubt/config.d/x.yaml": complete}, ""},
		"a mistake in the image's": {map[string]string{"/usr/lib/redoubt/config.d/x.yaml": "nods: 1\n", userDataFile: user, operatorFile: complete}, "nods"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, report := Source{Root: machine(t, c.files)}.Read().Parse()
			if got := report.Errors().String(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("errors:\n%swant: %s", got, c.want)
			}
		})
	}
}

// TestVendorData wants nothing in the cloud's own document to stop a boot where it
// does not speak of the registry, and cloud-init's switch for it to count.
func TestVendorData(t *testing.T) {
	const vendor = "/var/lib/cloud/instance/vendor-data.txt"
	cases := map[string]string{"cut gzip": packed(t, "#cloud-config\npackages: []\n")[:20]}
	dirs, err := filepath.Glob("testdata/vendor/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, f := range dirs {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cases[filepath.Base(f)] = string(data)
	}
	for name, data := range cases {
		for _, at := range []string{vendor, strings.Replace(vendor, "data.txt", "data2.txt", 1)} {
			_, _, report := Source{Root: machine(t, map[string]string{at: data, userDataFile: good})}.Read().Parse()
			if report.Err() != nil || !strings.Contains(report.Warnings().String(), "passed over") {
				t.Errorf("%s: %s", name, report)
			}
		}
	}
	for name, c := range map[string]struct{ vendor, user, want string }{
		"other things":     {"#cloud-config\npackages: [a]\n", good, ""},
		"ours":             {"#cloud-config\nredoubt: {nods: 1}\n", good, "vendor-data:2:11: nods: unknown key (did you mean \"nodes\"?)\n"},
		"ours, switched":   {"#cloud-config\nredoubt: {nods: 1}\n", good + "vendor_data: {enabled: false}\n", ""},
		"text":             {"#cloud-config\nredoubt: {nods: 1}\n", good + "vendor_data: {enabled: 'off'}\n", ""},
		"left on":          {"#cloud-config\nredoubt: {nods: 1}\n", good + "vendor_data: {enabled: 'Yes'}\n", "vendor-data:2:11: nods: unknown key (did you mean \"nodes\"?)\n"},
		"switch for other": {"#cloud-config\nredoubt: {nods: 1}\n", good + "vendor_data2: {enabled: false}\n", "vendor-data:2:11: nods: unknown key (did you mean \"nodes\"?)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, report := Source{Root: machine(t, map[string]string{vendor: c.vendor, userDataFile: c.user})}.Read().Parse()
			if got := report.Errors().String(); got != c.want {
				t.Errorf("%swant: %s", got, c.want)
			}
		})
	}
}
