package appliance

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/system/doctor"
)

// lookupTimeout is for the resolver's answer to one name.
const lookupTimeout = 5 * time.Second

// Doctor looks for what is wrong with the machine and around it, or soon will be. version
// is that of the running program.
func (m *Machine) Doctor(ctx context.Context, version string) (doctor.Report, error) {
	state, err := m.Status(ctx, version)
	if err != nil {
		return nil, err
	}
	var r doctor.Report
	for _, problem := range state.Problems {
		r = append(r, doctor.State(problem))
	}
	if len(r) == 0 {
		r = append(r, doctor.AllWell())
	}
	now := m.present().target
	mine, err := ownAddresses()
	if err != nil {
		return nil, fmt.Errorf("cannot read this machine's addresses: %w", err)
	}
	for _, name := range append([]string{now.cfg.Hostname}, now.cfg.Aliases...) {
		if name == "" || strings.HasPrefix(name, "*.") { // a wildcard leads nowhere
			continue
		}
		within, cancel := context.WithTimeout(ctx, lookupTimeout)
		found, err := net.DefaultResolver.LookupNetIP(within, "ip", name)
		cancel()
		r = append(r, doctor.Name(name, found, err, mine))
	}
	if url := now.cfg.Proxy.URL; url != "" {
		within, cancel := context.WithTimeout(ctx, lookupTimeout)
		r = append(r, doctor.Proxy(url, outbound.Own(m.Root).Check(within)))
		cancel()
	}
	r = append(r, doctor.Clock(synchronized(), m.Now(), builtAt()))
	for what, path := range map[string]string{"the system's disk": "/", "the data partition": filepath.Dir(paths.StorageRoot)} {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Join(m.Root, path), &fs); err != nil {
			r = append(r, doctor.State(fmt.Sprintf("cannot look at %s (%s): %v", what, path, err)))
			continue
		}
		r = append(r, doctor.Disk(what, fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize), fs.Ffree, fs.Files))
	}
	available, total, err := memory(filepath.Join(m.Root, "proc/meminfo"))
	if err != nil {
		return r, err
	}
	return append(r, doctor.Memory(available, total)), nil
}

// ownAddresses are those of all interfaces but the loopback.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	var out []netip.Addr
	for _, a := range all {
		prefix, parseErr := netip.ParsePrefix(a.String())
		if ip := prefix.Addr(); parseErr == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			out = append(out, ip.Unmap())
		}
	}
	return out, err
}

// synchronized says whether the kernel knows of a time server: adjtimex(2).
func synchronized() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// builtAt is when the newest of what this program was made from was committed, or zero.
func builtAt() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			at, _ := time.Parse(time.RFC3339, s.Value)
			return at
		}
	}
	return time.Time{}
}

// memory reads proc_meminfo(5), in bytes.
func memory(path string) (available, total uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read how much memory there is: %w", err)
	}
	defer f.Close()
	values := map[string]uint64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.ParseUint(fields[0], 10, 64)
			values[name] = n * 1024
		}
	}
	return values["MemAvailable"], values["MemTotal"], nil
}
