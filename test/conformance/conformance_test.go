//go:build conformance

package conformance

import (
	"context"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// listFile says what the suite finds wrong, and why.
const listFile = "failing.txt"

// maxProblems is how many lines are said to be wrong before -update is the shorter way.
const maxProblems = 40

// suiteWait bounds a run of the suite: it takes some seconds.
const suiteWait = 3 * time.Minute

var update = flag.Bool("update", false, "write "+listFile+" again, with the reasons that it has")

// storages are the sections of user-data for what images are kept in.
var storages = map[string]func(t *testing.T) string{
	"directory": func(*testing.T) string { return "{}" },
	"bucket": func(t *testing.T) string {
		s := stores.MinIO(t)
		return fmt.Sprintf("{s3: {bucket: %s, region: %s, endpoint: %q, accessKey: %q, secretKey: %q}}",
			s.NewBucket(t), s.Region, s.Endpoint, s.AccessKey, s.SecretKey)
	},
}

// TestConformance runs the suite against a registry on each storage, side by side,
// and holds that the list of what does not pass is exact.
func TestConformance(t *testing.T) {
	suite, redoubt := program.Tool(t, "conformance", "conformance"), build(t)
	found, mu := map[string]results{}, sync.Mutex{}
	t.Run("storage", func(t *testing.T) {
		for name, storage := range storages {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := run(t, suite, serve(t, redoubt, storage(t)), reports(t, name))
				mu.Lock()
				defer mu.Unlock()
				found[name] = r
			})
		}
	})
	if t.Failed() || len(found) < len(storages) {
		return // the list is for all of them
	}
	text, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	have, err := parse(string(text), []string{"bucket", "directory"})
	if err != nil {
		t.Fatalf("%s: %v", listFile, err)
	}
	if *update {
		have = have.update(found)
		if err := os.WriteFile(listFile, []byte(have.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if problems := have.problems(found); len(problems) > 0 {
		if more := len(problems) - maxProblems; more > 0 {
			problems = append(problems[:maxProblems], fmt.Sprintf("and %d more", more))
		}
		t.Errorf("%s is not exact:\n%s\nThe requests and answers are in %s; go test -tags conformance ./test/conformance -update writes the list again and keeps its reasons.",
			listFile, strings.Join(problems, "\n"), filepath.Join(reports(t, "*"), "report.html"))
	}
}

// reports is where the suite's own reports are kept, to be read.
func reports(t *testing.T, store string) string {
	t.Helper()
	return filepath.Join(program.Repository(t), ".cache", "test", "conformance", store)
}

// run runs the suite against a registry.
func run(t *testing.T, suite string, r *registry, reports string) results {
	t.Helper()
	if err := os.RemoveAll(reports); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), suiteWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite)
	cmd.Dir = t.TempDir()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OCI_") }),
		"OCI_VERSION=dev", "OCI_REGISTRY="+r.address, "OCI_TLS=disabled", "OCI_USERNAME=conformance",
		"OCI_PASSWORD="+r.password, "OCI_RESULTS_DIR="+reports)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: a case does not pass
		t.Fatalf("cannot run the suite: %v\n%s", err, out)
	}
	found, err := read(filepath.Join(reports, "junit.xml"))
	if err != nil {
		t.Fatalf("cannot read the suite's report: %v\n%s", err, out)
	}
	return found
}

// read takes the results from a report in the form of JUnit. A case that the suite
// skips has not passed, and says so in its name.
func read(path string) (results, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	report := struct {
		Cases []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
			Output string `xml:"system-out"`
		} `xml:"testsuite>testcase"`
	}{}
	if err := xml.Unmarshal(data, &report); err != nil {
		return nil, err
	}
	if len(report.Cases) == 0 {
		return nil, errors.New("it has no cases")
	}
	found := results{}
	for _, c := range report.Cases {
		name := strings.TrimPrefix(c.Name, "OCI Conformance Test/")
		if c.Status == "skipped" {
			name += " (skipped)"
		}
		sum := found[name]
		sum.cases++
		if c.Status == "passed" {
			sum.passed++
		} else if sum.why == "" {
			first, _, _ := strings.Cut(strings.TrimSpace(c.Output), "\n")
			sum.why = fmt.Sprintf("%.200s", first)
		}
		found[name] = sum
	}
	return found, nil
}
