package userdata

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

// User-data in the shapes that clouds, Terraform and editors make. Each says the same as
// the plain document, or one round of messages says what is wrong; a file that is not
// named here is a mistake of this test.
func TestPublishedUserData(t *testing.T) {
	const hash = "$2y$10$46fuOnZ0yhU7zoCppGvza.nofj4NOpWKMNvUtY5E2ICLu9wRj7g9S"
	outcomes := map[string]struct {
		users    []string // those who can log in; none for what is not valid
		level    string
		messages string
	}{
		"terraform-mime-gzip-base64-twice": {[]string{"alice"}, "info", "warning: this is base64"},
		"base64-of-cloud-config":           {[]string{"alice"}, "info", "warning: this is base64"},
		"cr-only":                          {[]string{"alice"}, "info", ""},
		"mime-from-line":                   {[]string{"alice"}, "info", ""},
		"anchors":                          {[]string{"alice", "bob"}, "info", ""},
		"merge-key":                        {[]string{"alice"}, "debug", ""},
		"yaml-directive":                   {[]string{"alice"}, "info", ""},
		"escaped-newlines":                 {nil, "", `its line breaks are written as \n: hand it over with real ones`},
	}
	files, err := filepath.Glob("testdata/published/*")
	if err != nil || len(files) != len(outcomes) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		want, ok := outcomes[filepath.Base(file)]
		if !ok {
			t.Errorf("%s has no outcome", file)
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// As a machine reads it, and as validate does.
		found := Source{Root: machine(t, map[string]string{userDataFile: string(data)})}.Read()
		cfg, _, report := found.Parse()
		_, _, validated := ReadFiles([]string{file}).Parse()
		for name, said := range map[string]config.Report{"boot": report, "validate": validated} {
			if (said.Err() == nil) != (want.users != nil) || !strings.Contains(said.String(), want.messages) || want.messages == "" && len(said) > 0 {
				t.Errorf("%s of %s: %v", name, file, said)
			}
		}
		if want.users == nil {
			continue
		}
		var users []string
		for _, u := range cfg.Auth.Users {
			users = append(users, u.Name)
			if u.PasswordHash != hash {
				t.Errorf("%s: %s has another hash", file, u.Name)
			}
		}
		if cfg.Hostname != "registry.example.com" || !reflect.DeepEqual(users, want.users) || cfg.Log.Level != want.level {
			t.Errorf("%s: %s %v %s", file, cfg.Hostname, users, cfg.Log.Level)
		}
	}
}
