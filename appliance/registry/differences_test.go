//go:build integration

package registry

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var updateDifferences = flag.Bool("update-differences", false, "write testdata/differences.txt again")

// noReason stands over differences that nobody has looked into yet.
const noReason = "no reason is given yet"

// compareList holds a file of lines to what was found: both are the same, and each line
// stands below its reason. The lines are indented, the reasons are not.
func compareList(t *testing.T, file string, found map[string]bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	var head, reasons []string
	lines := map[string][]string{} // by reason
	known := map[string]bool{}
	reason := noReason
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch text, indented := strings.CutPrefix(line, "  "); {
		case strings.HasPrefix(line, "#"):
			head = append(head, line)
		case indented:
			known[text] = true
			if found[text] {
				lines[reason] = append(lines[reason], text)
			} else if !*updateDifferences {
				t.Errorf("%s: it is no longer so: %s", file, text)
			}
		case line != "":
			reason = line
			reasons = append(reasons, reason)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(found)) {
		if !known[line] {
			lines[noReason] = append(lines[noReason], line)
			if !*updateDifferences {
				t.Errorf("%s does not have: %s", file, line)
			}
		}
	}
	if !*updateDifferences {
		if len(lines[noReason]) > 0 {
			t.Errorf("%s: say why", file)
		}
		return
	}
	out := strings.Join(head, "\n") + "\n"
	if !slices.Contains(reasons, noReason) {
		reasons = append(reasons, noReason)
	}
	for _, reason := range reasons {
		if len(lines[reason]) > 0 {
			slices.Sort(lines[reason])
			out += "\n" + reason + "\n  " + strings.Join(lines[reason], "\n  ") + "\n"
		}
	}
	check(t, os.WriteFile(file, []byte(out), 0o644))
}
