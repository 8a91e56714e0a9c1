package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// table is the result, in Markdown.
type table struct{ lines []string }

func (t *table) section(name string) {
	fmt.Fprintln(os.Stderr, "measured:", name)
	t.lines = append(t.lines, fmt.Sprintf("| **%s** | | | |", name))
}

// row adds a measurement: the column i of what was got.
func (t *table) row(name string, got map[kind][]float64, i int, format string) {
	us, they := got[redoubt][i], got[stock][i]
	ratio := "–"
	if they != 0 {
		ratio = fmt.Sprintf("%.2g", us/they)
	}
	t.lines = append(t.lines, fmt.Sprintf("| %s | "+format+" | "+format+" | %s |", name, us, they, ratio))
}

// markdown is the whole: when and where it was measured, and the rows.
func (t *table) markdown(part string) (string, error) {
	machine, err := machine()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`Measured on %s by `+"`make bench`"+` (BENCH=%s), on %s.

| | Redoubt | registry 3.1.2 | ratio |
|---|--:|--:|--:|
%s
`, time.Now().UTC().Format("2 January 2006, 15:04 UTC"), part, machine, strings.Join(t.lines, "\n")), nil
}

// machine is what it ran on.
func machine() (string, error) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "", err
	}
	_, model, _ := strings.Cut(string(info), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	return fmt.Sprintf("%d × %s, Linux %s, %s, load at the end %s", runtime.NumCPU(), model,
		strings.TrimSpace(string(release)), runtime.Version(), strings.Fields(string(load))[0]), nil
}

// The lines in the document between which the table stands.
const (
	begin = "<!-- make bench: %s begin -->\n"
	end   = "<!-- make bench: %s end -->\n"
)

// replace puts the text between the marks of a part in the document.
func replace(path, part, text string) error {
	begin, end := fmt.Sprintf(begin, part), fmt.Sprintf(end, part)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		return fmt.Errorf("cannot write the table into %s: it lacks the lines %q and %q", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+text+"\n"+end+after), 0o644)
}
