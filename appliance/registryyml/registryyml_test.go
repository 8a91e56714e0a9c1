package registryyml_test

import (
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/registryyml"
)

const whole = `version: 0.1
log: {level: warn}
storage:
  s3: {bucket: images, region: x, chunksize: 5242880, secure: true}
  delete: {enabled: true}
http: {prefix: /below/}
health: {storagedriver: {enabled: true, interval: 7s, threshold: 4}}
unknown: {to: all}
`

func TestRead(t *testing.T) {
	t.Setenv("REGISTRY_HTTP_PREFIX", "/other/")
	c, err := registryyml.Read([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	params := c.Storage["s3"]
	if c.Storage.Type() != "s3" || params["bucket"] != "images" || params["chunksize"] != 5242880 || params["secure"] != true {
		t.Errorf("storage: %v", c.Storage)
	}
	if h := c.Health.StorageDriver; c.HTTP.Prefix != "/below/" || h.Interval != 7*time.Second || h.Threshold != 4 || c.Catalog.MaxEntries != 0 {
		t.Errorf("got %+v", c)
	}
	if c, err := registryyml.Read(nil); err != nil || c.Storage.Type() != "" {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	if _, err := registryyml.ReadStrict([]byte(whole)); err == nil || !strings.Contains(err.Error(), "line 8: field unknown not found") {
		t.Errorf("strictly: %v", err)
	}
	c, err = registryyml.ReadServed([]byte(whole))
	if err != nil || c.HTTP.Prefix != "/other/" || c.Catalog.MaxEntries != 1000 {
		t.Errorf("as it is served: %+v, %v", c, err)
	}
}

// Each of these is an error, which says what it can without the value.
func TestErrorsShowNoValue(t *testing.T) {
	readers := map[string]func([]byte) (*configuration.Configuration, error){
		"Read": registryyml.Read, "ReadStrict": registryyml.ReadStrict, "ReadServed": registryyml.ReadServed,
	}
	const head = "version: 0.1\nstorage: {inmemory: }\n"
	for document, want := range map[string]string{
		head + "http: {debug: {prometheus: {enabled: SE`CRET}}}":                        "line 3: cannot unmarshal !!str a value into bool",
		head + "http: {debug: {prometheus: {enabled: \"`SE\\nCRET`\"}}, drain: {a: b}}": "line 3: cannot unmarshal !!str a value into bool",
		head + "http: [SECRET, SECRET]":                                                 "line 3: cannot unmarshal !!seq into",
		head + "log: {level: SE CRET}":                                                  "invalid loglevel: Must be one of [error,",
		head + "validation: {manifests: {indexes: {platforms: SECRET}}}":                "invalid platforms option: Must be one of [all,",
		head + "http: {tls: {clientauth: \"SE\\nCRET\"}}":                               "invalid ClientAuth: Must be one of: request-client-cert",
		head + "http: {secret: *SECRET}":                                                "yaml: unknown anchor referenced",
		head + "log: {fields: {a: &SECRET [*SECRET]}}":                                  "contains itself",
		head + "http: {secret: SECRET":                                                  "did not find expected ',' or '}'",
		head + "http: {secret: x}: SECRET":                                              "yaml: line",
		"storage: {inmemory: }\nversion: SECRET":                                        "parsing a value: invalid syntax",
		"version: 0.1\nstorage: {inmemory: , SECRET: }":                                 "must provide exactly one storage type",
		head + "auth: {htpasswd: , SECRET: }":                                           "must provide exactly one type",
	} {
		for name, read := range readers {
			_, err := read([]byte(document))
			switch {
			case err == nil:
				t.Errorf("%s takes %q", name, document)
			case !strings.Contains(err.Error(), want):
				t.Errorf("%s of %q: %v, which does not say %q", name, document, err, want)
			case strings.Contains(err.Error(), "SE"), strings.Contains(err.Error(), "CRET"):
				t.Errorf("%s of %q shows a value: %v", name, document, err)
			}
		}
	}
}

func TestErrorsOfTheEnvironmentShowNoValue(t *testing.T) {
	t.Setenv("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "SECRET")
	_, err := registryyml.ReadServed([]byte(whole))
	if err == nil || !strings.Contains(err.Error(), "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
}

// What is damaged is an error, whatever it is: distribution panics on some mistakes.
func FuzzRead(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("storage: {a: {}, b: {}}"))
	f.Add([]byte("storage: ~\nauth: [x]\n<<: *a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := registryyml.Read(data); (c == nil) == (err == nil) {
			t.Errorf("got %v, %v", c, err)
		}
	})
}
