package conformance

import (
	"slices"
	"strings"
	"testing"
)

var both = []string{"bucket", "directory"}

const example = `# A comment.
bucket: 2 of 6 cases pass
directory: 3 of 6 cases pass

sha512 is not known
  empty
  push ×2

buckets are slow
  pull/by tag [bucket]
`

// found is what the example is exact for.
func found() map[string]results {
	return map[string]results{
		"directory": {"empty": {1, 0, "bad digest"}, "push": {3, 1, "no"}, "pull/by tag": {1, 1, ""}, "ping": {1, 1, ""}},
		"bucket":    {"empty": {1, 0, "bad digest"}, "push": {3, 1, "no"}, "pull/by tag": {1, 0, "late"}, "ping": {1, 1, ""}},
	}
}

func TestList(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(found map[string]results)
		want   []string // problems
	}{
		{"exact", func(map[string]results) {}, nil},
		{"one passes", func(f map[string]results) {
			f["directory"]["empty"], f["bucket"]["empty"] = tally{1, 1, ""}, tally{1, 1, ""}
		}, []string{
			`remove "bucket: 2 of 6 cases pass"`, `remove "directory: 3 of 6 cases pass"`, `remove "  empty"`,
			`add "bucket: 3 of 6 cases pass"`, `add "directory: 4 of 6 cases pass"`,
		}},
		{"one fails", func(f map[string]results) { f["directory"]["ping"] = tally{1, 0, "404"} }, []string{
			`remove "directory: 3 of 6 cases pass"`, `add "directory: 2 of 6 cases pass"`, `add "  ping [directory]": 404`,
		}},
		{"one of some passes", func(f map[string]results) { f["bucket"]["push"] = tally{3, 2, "no"} }, []string{
			`remove "bucket: 2 of 6 cases pass"`, `remove "  push ×2"`,
			`add "bucket: 3 of 6 cases pass"`, `add "  push [bucket]": no`, `add "  push ×2 [directory]": no`,
		}},
		{"the suite ends early", func(f map[string]results) { delete(f["bucket"], "pull/by tag") }, []string{
			`remove "bucket: 2 of 6 cases pass"`, `remove "buckets are slow"`, `remove "  pull/by tag [bucket]"`,
			`add "bucket: 2 of 5 cases pass"`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := parse(example, both)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.String(); got != example {
				t.Errorf("it is written as\n%s", got)
			}
			f := found()
			test.change(f)
			if got := l.problems(f); !slices.Equal(got, test.want) {
				t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestUpdate holds that -update leaves nothing to change but reasons that only a
// person knows.
func TestUpdate(t *testing.T) {
	l, err := parse(example, both)
	if err != nil {
		t.Fatal(err)
	}
	f := found()
	f["directory"]["ping"], f["bucket"]["empty"] = tally{1, 0, "404"}, tally{1, 1, ""}
	f["directory"]["pull/by tag"] = tally{1, 0, "late here too"}
	again, err := parse(l.update(f).String(), both)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.problems(f); !slices.Equal(got, []string{`say the reason of "  ping [directory]": 404`}) {
		t.Errorf("problems %q", got)
	}
	for name, want := range map[string]string{"empty": "sha512 is not known", "pull/by tag": "buckets are slow"} {
		if got := again.entries[place{"directory", name}]; got != (entry{1, want}) {
			t.Errorf("the entry of %q is now %+v", name, got)
		}
	}
}

func TestListMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"  case without a reason\n": "line 1: must be a reason",
		"reason\n\ta tab\n":         "line 2: must be",
		"reason\n  a [disk]\n":      `no store "disk"`,
		"reason\n  a\nother\n  a\n": "listed twice",
	} {
		if _, err := parse(text, both); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
