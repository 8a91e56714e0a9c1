// Package debian makes Debian roots with mmdebstrap: which state of the
// archive there is, a root as a cached archive, and a tree of build tools.
package debian

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Suite names what to install from.
type Suite struct {
	Name         string   // "trixie"
	Architecture string   // "amd64"
	Sources      []string // lines of sources.list; empty is what mmdebstrap chooses
}

// State is the state of an archive's suites.
type State struct {
	// Digest is of the package lists of all suites: what can be installed.
	Digest string
	// Date is when the suite itself was last released (its InRelease file's
	// Date; a point release), not its updates: a date that stays while the
	// packages stay.
	Date time.Time
}

// lines returns s's sources.list lines, asking mmdebstrap where s has none.
func (s Suite) lines(ctx context.Context, scratch string) ([]string, error) {
	if len(s.Sources) > 0 {
		return s.Sources, nil
	}
	dir, err := os.MkdirTemp(scratch, "sources-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	// Neither update nor clean-up: this only writes the sources, in 0.2 s.
	args := []string{"--quiet", "--variant=custom", "--skip=update,cleanup,check/qemu,check/signed-by",
		"--architectures=" + s.Architecture, s.Name, dir}
	if err := mmdebstrap(ctx, scratch, io.Discard, nil, args...); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, "etc/apt/sources.list"))
	if err != nil {
		return nil, fmt.Errorf("cannot read mmdebstrap's choice of sources: %w", err)
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' }), nil
}

// State downloads the InRelease files of s's sources, through the host's apt
// settings, and reads them. Signatures are checked by apt when packages are
// fetched; a wrong answer here can only cost a needless or a missed rebuild.
func (s Suite) State(ctx context.Context, scratch string) (State, error) {
	lines, err := s.lines(ctx, scratch)
	if err != nil {
		return State{}, err
	}
	sum, st := sha256.New(), State{}
	for _, line := range lines {
		uri, suite, ok := parseSource(line)
		if !ok {
			continue
		}
		data, err := fetch(ctx, scratch, strings.TrimSuffix(uri, "/")+"/dists/"+suite+"/InRelease")
		if err != nil {
			return State{}, err
		}
		rel, err := parseRelease(data, s.Architecture)
		if err != nil {
			return State{}, fmt.Errorf("cannot read the InRelease file of %s: %w", suite, err)
		}
		fmt.Fprintln(sum, suite, rel.lists)
		if suite == s.Name {
			st.Date = rel.date
		}
	}
	if st.Date.IsZero() {
		return State{}, fmt.Errorf("cannot use these sources: none is for suite %s", s.Name)
	}
	st.Digest = hex.EncodeToString(sum.Sum(nil))
	return st, nil
}

// parseSource splits a line "deb [options] URI SUITE COMPONENT…".
func parseSource(line string) (uri, suite string, ok bool) {
	f := strings.Fields(line)
	if len(f) == 0 || f[0] != "deb" {
		return "", "", false
	}
	f = f[1:]
	if len(f) > 0 && strings.HasPrefix(f[0], "[") {
		for len(f) > 0 && !strings.HasSuffix(f[0], "]") {
			f = f[1:]
		}
		f = f[min(1, len(f)):]
	}
	if len(f) < 2 {
		return "", "", false
	}
	return f[0], f[1], true
}

func fetch(ctx context.Context, scratch, url string) ([]byte, error) {
	f, err := os.CreateTemp(scratch, "inrelease-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a file: %w", err)
	}
	defer os.Remove(f.Name())
	f.Close()
	out, err := exec.CommandContext(ctx, "/usr/lib/apt/apt-helper",
		"-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "download-file", url, f.Name()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("cannot download %s: %w: %s; name a reachable mirror in sources", url, err, lastLine(out))
	}
	return os.ReadFile(f.Name())
}

type release struct {
	date  time.Time
	lists string
}

// parseRelease reads the fields of an InRelease file that tell its state
// (Debian repository format, "Release" files).
func parseRelease(data []byte, arch string) (release, error) {
	var rel release
	section := ""
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		line := sc.Text()
		if !strings.HasPrefix(line, " ") {
			section, _, _ = strings.Cut(line, ":")
		}
		if value, ok := strings.CutPrefix(line, "Date: "); ok {
			// Debian writes "UTC" for the zone: RFC 1123.
			date, err := time.Parse("Mon, _2 Jan 2006 15:04:05 MST", value)
			if err != nil {
				return rel, fmt.Errorf("its date is unreadable: %w", err)
			}
			rel.date = date.UTC()
		}
		f := strings.Fields(line)
		if section == "SHA256" && len(f) == 3 && strings.HasSuffix(f[2], "/binary-"+arch+"/Packages") {
			rel.lists += f[0]
		}
	}
	if rel.date.IsZero() || rel.lists == "" {
		return rel, fmt.Errorf("it has no %s", cmp.Or(missing(rel.date.IsZero(), "date"), "package list for "+arch))
	}
	return rel, sc.Err()
}

func missing(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
