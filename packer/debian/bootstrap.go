package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Request is a root to be made.
type Request struct {
	Suite    Suite
	State    State
	Variant  string   // mmdebstrap's: minbase, extract, …
	Packages []string // what is installed besides what the variant has
	Exclude  []string // dpkg path patterns to leave out
	Include  []string // dpkg path patterns that stay although Exclude matches
}

// key names a request's result: equal requests are equal bytes.
func (r Request) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q %q %q %q", r.Suite, r.State.Digest,
		r.State.Date.Unix(), r.Variant, r.Packages, r.Exclude, r.Include))
	return hex.EncodeToString(sum[:8])
}

// Archive returns the path of a tar archive of r's root, made in the directory
// cache if it is not there yet; cached tells which. No initrd is in it: that
// is made when all that belongs into it is there. The caller keeps other
// builds out of cache.
func Archive(ctx context.Context, cache, scratch string, r Request, log io.Writer) (path string, cached bool, err error) {
	path = filepath.Join(cache, r.Variant+"-"+r.key()+".tar")
	if _, err := os.Stat(path); err == nil {
		now := time.Now()
		return path, true, os.Chtimes(path, now, now)
	}
	tmp := filepath.Join(scratch, "bootstrap.tar")
	args := []string{
		"--variant=" + r.Variant, "--format=tar",
		"--architectures=" + r.Suite.Architecture,
		"--include=" + strings.Join(r.Packages, ","),
		`--aptopt=Acquire::Retries "3"`,
		"--dpkgopt=force-confold", "--dpkgopt=force-unsafe-io",
	}
	for _, e := range r.Exclude {
		args = append(args, "--dpkgopt=path-exclude="+e)
	}
	for _, i := range r.Include {
		args = append(args, "--dpkgopt=path-include="+i)
	}
	args = append(append(args, r.Suite.Name, tmp), r.Suite.Sources...)
	env := []string{"INITRD=No", "SOURCE_DATE_EPOCH=" + strconv.FormatInt(r.State.Date.Unix(), 10)}
	if err := mmdebstrap(ctx, scratch, log, env, args...); err != nil {
		return "", false, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", false, fmt.Errorf("cannot keep the bootstrap: %w", err)
	}
	return path, false, nil
}

// Unpack makes the directory dir out of an archive made by Archive.
func Unpack(ctx context.Context, archive, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make a root: %w", err)
	}
	out, err := exec.CommandContext(ctx, "tar", "-x", "--numeric-owner", "--same-owner", "--same-permissions",
		"--xattrs", "--xattrs-include=*", "--exclude=./dev/*", "-C", dir, "-f", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot unpack %s: %w: %s", archive, err, lastLine(out))
	}
	return nil
}

// Prune removes all but the newest keep archives of a variant from cache.
func Prune(cache, variant string, keep int) error {
	paths, err := filepath.Glob(filepath.Join(cache, variant+"-*.tar"))
	if err != nil {
		return err
	}
	used := make(map[string]time.Time, len(paths))
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("cannot look at the cache: %w", err)
		}
		used[p] = info.ModTime()
	}
	for _, p := range paths {
		newer := 0
		for _, t := range used {
			if t.After(used[p]) {
				newer++
			}
		}
		if newer >= keep {
			if err := os.Remove(p); err != nil {
				return fmt.Errorf("cannot prune the cache: %w", err)
			}
		}
	}
	return nil
}

// mmdebstrap runs mmdebstrap in a PID namespace of its own, so that nothing
// of it is left when it fails, is cancelled, or when this process dies. All
// its scratch files are in scratch.
func mmdebstrap(ctx context.Context, scratch string, log io.Writer, env []string, args ...string) error {
	runtime.LockOSThread() // the parent-death signal follows this thread
	defer runtime.UnlockOSThread()
	args = append([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "mmdebstrap"}, args...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, log)
	cmd.Stderr = cmd.Stdout
	cmd.Env = append(os.Environ(), append(env, "TMPDIR="+scratch, "LC_ALL=C.UTF-8")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot bootstrap Debian: %w: %s", err, cause(out.String()))
	}
	return nil
}

// cause picks the first error out of mmdebstrap's output.
func cause(out string) string {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "Err:") || strings.HasPrefix(line, "dpkg: error") || strings.Contains(line, "No space left") {
			return strings.TrimSpace(line)
		}
	}
	return lastLine([]byte(out))
}
