package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const top = "../.."

var update = flag.Bool("update", false, "write what is made from the code again")

func documents(t *testing.T) map[string]string {
	t.Helper()
	var names []string
	for _, pages := range []string{"/docs/*.md", "/docs/clouds/*.md"} {
		found, err := filepath.Glob(top + pages)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	docs := map[string]string{}
	for _, name := range append(names, top+"/README.md", top+"/CONTRIBUTING.md", top+"/STYLE.md", top+"/CHANGELOG.md") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = string(data)
	}
	return docs
}

// made holds that a document is what the code says, and writes it with -update.
func made(t *testing.T, file, want string) {
	t.Helper()
	name := filepath.Join(top, "docs", file)
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
		t.Errorf("docs/%s is not what the code says: run go test ./test/docs -update", file)
	}
}

func TestReference(t *testing.T) {
	want, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	made(t, "reference.md", want)
	// What "redoubt validate" refuses would be read there as working.
	for _, refused := range []string{"upported yet", "`mirrors"} {
		if strings.Contains(want, refused) {
			t.Errorf("the reference has a key that is not supported yet: %s", refused)
		}
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

var (
	link    = regexp.MustCompile(`\]\(([^)#:]*)(?:#([^)]*))?\)`)
	heading = regexp.MustCompile("(?m)^#+ (.+)$")
	symbols = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors are the fragments that the headings of a document can be reached by, as
// GitHub makes them.
func anchors(document string) []string {
	var list []string
	for _, match := range heading.FindAllStringSubmatch(document, -1) {
		list = append(list, strings.ReplaceAll(symbols.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return list
}

func TestLinksLeadSomewhere(t *testing.T) {
	for name, text := range documents(t) {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(name), match[1])
			if match[1] == "" {
				target = name
			}
			data, err := os.ReadFile(target)
			if info, statErr := os.Stat(target); statErr != nil {
				t.Errorf("%s links to %s: %v", name, match[1], statErr)
			} else if match[2] != "" && (err != nil || info.IsDir() || !slices.Contains(anchors(string(data)), match[2])) {
				t.Errorf("%s links to %s#%s: it has no such heading", name, match[1], match[2])
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

// region finds what stands between the marks of a part that is made from the code.
func region(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?s)(<!-- ` + name + `: [^\n]*-->\n).*?(<!-- end -->)`)
}

// TestDevelopment holds the map to the code: its tables of packages and of readers
// are made from it.
func TestDevelopment(t *testing.T) {
	data, err := os.ReadFile(top + "/docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	readers, err := Readers()
	if err != nil {
		t.Fatal(err)
	}
	agent, err := Packages(top, "appliance", "cmd")
	if err != nil {
		t.Fatal(err)
	}
	beside, err := Packages(top, "butane", "packer", "units", "test")
	if err != nil {
		t.Fatal(err)
	}
	want := string(data)
	for name, table := range map[string]string{"readers": readers, "packages": agent, "beside": beside} {
		if !region(name).MatchString(want) {
			t.Fatalf("docs/development.md has no <!-- %s: … --> with an <!-- end -->", name)
		}
		want = region(name).ReplaceAllString(want, "${1}"+strings.ReplaceAll(table, "$", "$$")+"${2}")
	}
	made(t, "development.md", want)
}

var (
	code  = regexp.MustCompile("`([^`\n]+)`")
	below = regexp.MustCompile(`^(appliance|butane|cmd|docs|packer|scripts|test|units)/[A-Za-z0-9_./-]+$`)
)

// TestDevelopmentNamesWhatIsThere holds that what moves moves in the map too.
func TestDevelopmentNamesWhatIsThere(t *testing.T) {
	data, err := os.ReadFile(top + "/docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range code.FindAllStringSubmatch(string(data), -1) {
		if !below.MatchString(match[1]) || strings.Contains(match[1], "NAME") {
			continue
		}
		if _, err := os.Stat(filepath.Join(top, match[1])); err != nil {
			t.Errorf("docs/development.md names %s: %v", match[1], err)
		}
	}
}

// TestEveryStateFileIsListed holds that the map says of each path of the machine's
// state who writes it and who reads it.
func TestEveryStateFileIsListed(t *testing.T) {
	data, err := os.ReadFile(top + "/docs/development.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(data), "\n## State\n")
	var listed []string
	for row := range strings.Lines(tables) {
		if cells := strings.Split(row, "|"); len(cells) > 4 {
			for _, match := range code.FindAllStringSubmatch(cells[1], -1) {
				listed = append(listed, match[1])
			}
		}
	}
	paths, err := Paths(top+"/appliance", top+"/cmd/redoubt")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 20 || len(listed) < 20 {
		t.Fatalf("%d paths in the code and %d in the map: this test no longer finds them", len(paths), len(listed))
	}
	for _, path := range paths {
		if !slices.ContainsFunc(listed, func(l string) bool {
			return l == path || strings.HasPrefix(path, l+"/") || strings.HasPrefix(l, path+"/")
		}) {
			t.Errorf("%s is in the code and not in docs/development.md: say who writes it and who reads it", path)
		}
	}
}
