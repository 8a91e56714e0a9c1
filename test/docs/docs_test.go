package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const top = "../.."

var update = flag.Bool("update", false, "write docs/reference.md again")

func documents(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(top + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, name := range append(names, top+"/README.md", top+"/CONTRIBUTING.md", top+"/CHANGELOG.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = string(data)
	}
	return docs
}

func TestReference(t *testing.T) {
	want, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	name := top + "/docs/reference.md"
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the types say: run go test ./test/docs -update", name)
	}
}

var block = regexp.MustCompile("(?ms)^```yaml\n(#cloud-config\n.*?)^```")

// Whoever copies an example gets no error and no warning.
func TestExamplesAreValid(t *testing.T) {
	found := 0
	check := func(name, document string) {
		found++
		_, _, report := config.Parse([]config.Layer{{Name: name, Data: []byte(document)}})
		if len(report) > 0 {
			t.Errorf("an example does not hold:\n%s", report)
		}
	}
	for name, text := range documents(t) {
		for _, match := range block.FindAllStringSubmatch(text, -1) {
			check(name, match[1])
		}
	}
	examples, err := filepath.Glob(top + "/docs/examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range examples {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		check(name, string(data))
	}
	if found == 0 {
		t.Error("no example was found")
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), match[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, match[1], err)
			}
		}
	}
}

var target = regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)")

func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(top + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, match := range target.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+match[1]+":") {
				t.Errorf("%s names make %s, which does not exist", name, match[1])
			}
		}
	}
}

var verb = regexp.MustCompile("`redoubt ([a-z]+)")

func TestVerbsExist(t *testing.T) {
	for name, text := range documents(t) {
		for _, match := range verb.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(top + "/cmd/redoubt/" + match[1] + ".go"); err != nil {
				t.Errorf("%s names redoubt %s, which does not exist", name, match[1])
			}
		}
	}
}
