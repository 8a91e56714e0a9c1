package main

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are the runs of each kind: a column is one number that they measure.
type results map[kind][][]float64

// column has the i-th number of each run, sorted.
func (r results) column(k kind, i int) []float64 {
	var column []float64
	for _, run := range r[k] {
		column = append(column, run[i])
	}
	slices.Sort(column)
	return column
}

// median is that of a column, 0 for an empty one.
func median(column []float64) float64 {
	if len(column) == 0 {
		return 0
	}
	return column[len(column)/2]
}

// table is the result, in Markdown.
type table struct {
	zot   string // which one; empty: there is none
	lines []string
}

func (t *table) section(name string) {
	fmt.Fprintln(os.Stderr, "measured:", name)
	t.lines = append(t.lines, fmt.Sprintf("| **%s** | | | | | |", name))
}

// row adds a measurement: the column i of what was got.
func (t *table) row(name string, got results, i int, format string) {
	us := got.column(redoubt, i)
	line := fmt.Sprintf("| %s | %s", name, cell(us, format))
	for _, k := range []kind{stock, zot} {
		line += " | " + cell(got.column(k, i), format)
	}
	for _, k := range []kind{stock, zot} {
		line += " | " + ratio(median(us), median(got.column(k, i)))
	}
	line += " |"
	fmt.Fprintln(os.Stderr, line)
	t.lines = append(t.lines, line)
}

// cell is the median, and the least and the most where there were several runs.
func cell(column []float64, format string) string {
	if len(column) == 0 {
		return "–"
	}
	text := fmt.Sprintf(format, median(column))
	if len(column) > 1 {
		text += fmt.Sprintf(" ("+format+"–"+format+")", column[0], column[len(column)-1])
	}
	return text
}

func ratio(us, they float64) string {
	if they == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", us/they)
}

// markdown is the whole: when and where it was measured, and the rows.
func (t *table) markdown(part, idle string) (string, error) {
	machine, err := machine()
	if err != nil {
		return "", err
	}
	zot := cmp.Or(t.zot, "zot")
	return fmt.Sprintf(`Measured on %s by `+"`make bench`"+` (BENCH=%s), on %s. %s

| median (least–most) | Redoubt | registry 3.1.2 | %s | to registry | to zot |
|---|--:|--:|--:|--:|--:|
%s
`, time.Now().UTC().Format("2 January 2006, 15:04 UTC"), part, machine, idle, zot, strings.Join(t.lines, "\n")), nil
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
