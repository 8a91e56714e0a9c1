package program

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Owner is who needs a tool: a test, or a program.
type Owner interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Tool is the path of a program of a set that `make tools` has built. A program
// that is missing, or older than its module, fails its owner with that command.
func Tool(t Owner, set, name string) (path string) {
	t.Helper()
	path, err := tool(Repository(t), set, name)
	if err != nil {
		t.Fatalf("cannot use %s: %v; run make tools", name, err)
	}
	return path
}

// tool finds a program, and compares what scripts/tools wrote into SET.sum, in the
// form of sha256sum(1), with the files that are named there.
func tool(top, set, name string) (path string, err error) {
	dir := filepath.Join(top, ".cache", "tools")
	sums, err := os.ReadFile(filepath.Join(dir, set+".sum"))
	if err != nil {
		return "", fmt.Errorf("it is not built: %w", err)
	}
	for line := range strings.Lines(string(sums)) {
		want, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		data, err := os.ReadFile(filepath.Join(top, file))
		if !ok || err != nil || !bytes.Equal(fmt.Appendf(nil, "%x", sha256.Sum256(data)), []byte(want)) {
			return "", fmt.Errorf("it was built before %s changed", file)
		}
	}
	path = filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}
