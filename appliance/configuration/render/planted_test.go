package render_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registry/page"
)

// planted are secrets as people have them.
var planted = []string{
	"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", // a secret key of S3
	"AKIAIOSFODNN7EXAMPLE",                     // an access key of S3
	"qXvTzRkWpLmNbHcD",                         // letters alone
	"c29tZSBzZWNyZXQgb2Ygb3Vycw==",
	"hunter2hunter2",
	"correct-horse-battery-staple",
	"8f14e45fceea167a5a36dedd4bea2543",
	"Tr0ub4dor.3",
}

// places are documents in which a mistake has put a secret where none belongs, or where
// one that belongs is beside a mistake.
var places = map[string]string{
	"a key in a flow map":         "redoubt:\n  hostname: a.example\n  storage: {s3: {bucket: b, region: r, accessKey, SECRET}}\n",
	"a key with an empty value":   "redoubt:\n  hostname: a.example\n  storage:\n    s3:\n      SECRET:\n",
	"a key with a value":          "redoubt:\n  hostname: a.example\n  storage:\n    s3:\n      SECRET: x\n",
	"a key that says its place":   "redoubt:\n  hostname: a.example\n  secretKeySECRET: x\n",
	"an explicit key":             "redoubt:\n  hostname: a.example\n  ? SECRET\n",
	"a key beside redoubt:":       "redoubt:\n  hostname: a.example\nSECRET: x\n",
	"a key with an equals sign":   "redoubt:\n  hostname: a.example\n  accessKey=SECRET: x\n",
	"a duplicate key":             "redoubt:\n  hostname: a.example\n  SECRET: x\n  SECRET: y\n",
	"an item of a list":           "redoubt:\n  hostname: a.example\n  auth: {users: [SECRET]}\n",
	"a list for text":             "redoubt:\n  hostname: a.example\n  httpSecret: [SECRET]\n",
	"a group for text":            "redoubt:\n  hostname: a.example\n  httpSecret: {SECRET: SECRET}\n",
	"the name of a host":          "redoubt:\n  hostname: SECRET_\n",
	"a word of a list":            "redoubt:\n  hostname: a.example\n  tls: {mode: SECRET}\n",
	"a duration":                  "redoubt:\n  hostname: a.example\n  listen: {drainTimeout: SECRET}\n",
	"a truth value":               "redoubt:\n  hostname: a.example\n  listen: {http2: SECRET}\n",
	"a comment":                   "redoubt:\n  hostname: a.example\n  nodes: x # SECRET\n",
	"a comment in a flow map":     "redoubt:\n  hostname: a.example\n  listen: {http2: x, # SECRET\n   httpsPort: 1}\n",
	"an alias":                    "redoubt:\n  hostname: a.example\n  httpSecret: *SECRET\n",
	"an anchor":                   "redoubt:\n  hostname: &SECRET a.example\n  httpSecret: *SECRET\n",
	"a tag":                       "redoubt:\n  hostname: a.example\n  httpSecret: !SECRET x\n",
	"a global tag":                "redoubt:\n  hostname: a.example\n  httpSecret: !<SECRET> x\n",
	"a tag with a handle":         "redoubt:\n  hostname: a.example\n  httpSecret: !e!SECRET x\n",
	"a directive":                 "%SECRET\n---\nredoubt:\n  hostname: a.example\n",
	"after a tab":                 "redoubt:\n  hostname: a.example\n\thttpSecret: SECRET\n",
	"a key with a tab":            "redoubt:\n  hostname: a.example\n  httpSecret\tSECRET: x\n",
	"a merge key":                 "redoubt:\n  hostname: a.example\n  <<: {httpSecret: SECRET}\n",
	"a merge key of text":         "redoubt:\n  hostname: a.example\n  <<: SECRET\n",
	"a literal block":             "redoubt:\n  hostname: a.example\n  storage: |\n    SECRET\n    secretKey: SECRET\n",
	"a folded block":              "redoubt:\n  hostname: a.example\n  nodes: >-\n    SECRET\n",
	"a block's header":            "redoubt:\n  hostname: a.example\n  httpSecret: |SECRET\n    x\n",
	"a quote that does not end":   "redoubt:\n  hostname: a.example\n  httpSecret: \"SECRET\n  nodes: 1\n",
	"after a quote":               "redoubt:\n  hostname: a.example\n  httpSecret: \"x\"SECRET\n",
	"a colon in a value":          "redoubt:\n  hostname: a.example\n  httpSecret: x: SECRET\n",
	"a bracket in a value":        "redoubt:\n  hostname: a.example\n  storage: {s3: {secretKey: SECRET]}}\n",
	"an escape in quotes":         "redoubt:\n  hostname: a.example\n  httpSecret: \"\\qSECRET\"\n",
	"a wrong indent":              "redoubt:\n  hostname: a.example\n  httpSecret:\n  SECRET\n  nodes: 1\n",
	"a value over two lines":      "redoubt:\n  hostname: a.example\n  nodes: x\n    SECRET\n",
	"beside a mistake":            "redoubt: {hostname: a.example, nodes: x, httpSecret: SECRET}\n",
	"a user's password as name":   "redoubt:\n  hostname: a.example\n  auth: {users: [{name: \"SECRET \", password: x}]}\n",
	"a hash":                      "redoubt:\n  hostname: a.example\n  auth: {users: [{name: a, passwordHash: SECRET}]}\n",
	"an overlay's key":            "redoubt:\n  hostname: a.example\n  registry: {http: {SECRET: x}}\n",
	"an overlay's flow map":       "redoubt:\n  hostname: a.example\n  registry: {notifications: {endpoints: [{name, SECRET}]}}\n",
	"an overlay's header":         "redoubt:\n  hostname: a.example\n  registry: {http: {headers: {SECRET: x}}}\n",
	"an overlay's text":           "redoubt:\n  hostname: a.example\n  registry: {storage: {s3: {storageclass: SECRET}}}\n",
	"an overlay's number":         "redoubt:\n  hostname: a.example\n  registry: {storage: {s3: {chunksize: SECRET}}}\n",
	"a variable's name":           "redoubt:\n  hostname: a.example\n  environment: [{name: SECRET, value: x}]\n",
	"a part of a variable's name": "redoubt:\n  hostname: a.example\n  environment: [{name: REGISTRY_STORGE_S3_SECRET, value: x}]\n",
	"a variable of a free group":  "redoubt:\n  hostname: a.example\n  environment: [{name: REGISTRY_HTTP_HEADERS_SECRET, value: x}]\n",
	"a variable's value":          "redoubt:\n  hostname: a.example\n  environment: [{name: REGISTRY_STORAGE_S3_CHUNKSIZE, value: SECRET}]\n",
	"a URL":                       "redoubt:\n  hostname: a.example\n  storage: {s3: {bucket: b, region: r, endpoint: \"https://u:SECRET@h/?x\"}}\n",
	"a webhook":                   "redoubt:\n  hostname: a.example\n  alerts: {webhook: \"htp://h/SECRET\"}\n",
	"a second document":           "redoubt:\n  hostname: a.example\n--- SECRET\n",
	"all there is":                "SECRET\n",
	"a misspelt redoubt:":         "redout:\n  httpSecret: SECRET\n",
}

// What a person or a client is told of a document never has a secret of it, wherever a
// mistake has put that.
func TestASecretInAnyPlaceIsNotShown(t *testing.T) {
	for place, text := range places {
		for i, secret := range planted {
			for _, head := range []string{"#cloud-config\n", ""} {
				if i > 1 && head != "" { // the same as without it
					continue
				}
				document := head + strings.ReplaceAll(text, "SECRET", secret)
				if strings.HasPrefix(text, "%") {
					document = strings.ReplaceAll(text, "SECRET", secret)
				}
				for output, said := range outputs(t, document) {
					if strings.Contains(strings.ToLower(said), strings.ToLower(secret)) {
						t.Errorf("%s: %s shows %s:\n%s", place, output, secret, said)
					}
				}
			}
		}
	}
}

// outputs is all that is said of a document, by where it is said.
func outputs(t *testing.T, document string) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, origins, report := userdata.ReadFiles([]string{file}).Parse()
	out := map[string]string{"journal": report.String(), "error": fmt.Sprint(report.Err()), "validate": report.Show(config.Terminal())}
	list, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	out["JSON"] = string(list)
	if report.Err() == nil {
		shown, err := cfg.Show(origins)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(document, "environment:") || strings.Contains(document, "registry:") {
			out["show --origin"] = string(shown)
		}
		return out
	}
	files, err := render.Maintenance("a.example", report)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		out[f.Path] = string(f.Data)
	}
	notice, _ := files.Lookup(paths.Maintenance)
	if err := os.WriteFile(file, notice.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	m := page.ReadMaintenance(file)
	for _, accept := range []string{"text/html", "application/json"} {
		for _, path := range []string{"/", "/v2/"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			m.ServeHTTP(w, r)
			out[accept+" of "+path] = w.Body.String()
		}
	}
	return out
}

// Settings and variables of the command line are documents too.
func TestASecretInASettingIsNotShown(t *testing.T) {
	for _, secret := range planted {
		_, report := config.Settings("--set", []string{secret, secret + "=x", "tls." + secret + "=x"})
		_, more := config.Environment([]string{"REDOUBT_" + strings.ToUpper(secret) + "=x", "REDOUBT_" + secret + "=x"})
		said := append(report, more...).String()
		if strings.Contains(strings.ToLower(said), strings.ToLower(secret)) {
			t.Errorf("%s", said)
		}
	}
}
