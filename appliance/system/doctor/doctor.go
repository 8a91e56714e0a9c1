// Package doctor says what is wrong around a machine, or soon will be, and what cures it.
// It judges what others have measured: it reads no clock, no disk and no network.
package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/printable"
	"github.com/redoubt-registry/redoubt/appliance/storage/progress"
)

// Grade is how bad a finding is.
type Grade string

// The grades, from good to bad.
const (
	Well    Grade = "ok"
	Notice  Grade = "notice"  // it may be meant so
	Problem Grade = "problem" // it is wrong, or will be
)

// Finding is what one look has found.
type Finding struct {
	Check string `json:"check"` // what was looked at, such as names
	Grade Grade  `json:"grade"`
	Found string `json:"found"`
	Cure  string `json:"cure,omitempty"` // what to do; none where all is well
}

func well(check, format string, args ...any) Finding {
	return Finding{Check: check, Grade: Well, Found: fmt.Sprintf(format, args...)}
}

// Name judges what a name of the machine resolves to. err is why it does not; mine are the
// machine's own addresses.
func Name(name string, found []netip.Addr, err error, mine []netip.Addr) Finding {
	const check = "names"
	local := func(a netip.Addr) bool { return slices.Contains(mine, a.Unmap()) }
	switch own, parseErr := netip.ParseAddr(name); {
	case parseErr == nil && local(own):
		return well(check, "%s is an address of this machine", name)
	case parseErr == nil:
		return Finding{check, Notice, name + " is no address of this machine itself",
			"right for the address of a load balancer or a NAT; else correct hostname or aliases"}
	case err != nil:
		return Finding{check, Problem, fmt.Sprintf("%s does not resolve on this machine: %v", name, err),
			"make a DNS record for it that leads to one of " + join(mine)}
	case slices.ContainsFunc(found, local):
		return well(check, "%s leads here, to %s", name, join(found))
	}
	return Finding{check, Notice, fmt.Sprintf("%s leads to %s, and this machine has %s", name, join(found), join(mine)),
		"right behind a load balancer, a proxy or a NAT; else correct the DNS record"}
}

func join(addresses []netip.Addr) string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.Unmap().String())
	}
	if len(all) == 0 {
		return "no address"
	}
	return strings.Join(all, ", ")
}

// Proxy judges whether the proxy for what the machine asks for can be reached. err is why
// not.
func Proxy(url string, err error) Finding {
	const check = "proxy"
	if err != nil {
		return Finding{check, Problem, err.Error(), "let this machine reach " + url + ", or correct proxy"}
	}
	return well(check, "%s can be reached", url)
}

// Clock judges the machine's clock: whether a time server keeps it, as the kernel knows,
// and whether it is before built, when this program was made.
func Clock(synchronized bool, now, built time.Time) Finding {
	const check = "clock"
	switch {
	case now.Before(built):
		return Finding{check, Problem, fmt.Sprintf("the clock says %s, which is before this program was made", now.UTC().Format(time.RFC3339)),
			"look at timedatectl, and let UDP port 123 out to a time server: certificates and signatures of a bucket need the right time"}
	case !synchronized:
		return Finding{check, Problem, "no time server keeps the clock",
			"look at timedatectl timesync-status, and let UDP port 123 out; a hypervisor that keeps the clock is as good"}
	}
	return well(check, "a time server keeps the clock")
}

// Shares of a resource below which it is short.
const (
	shortPercent  = 10
	fewMemoryByte = 64 << 20
)

// Disk judges the file system that what lies on. A number of bytes or of inodes that is
// not known is 0.
func Disk(what string, free, size, freeInodes, inodes uint64) Finding {
	const check = "disk"
	switch {
	case size > 0 && free*100 < size*shortPercent:
		return Finding{check, Problem, fmt.Sprintf("%s has %s left of %s", what, bytes(free), bytes(size)),
			"make the disk larger: it is taken up at the next boot. Or free space: redoubt gc, redoubt trash empty"}
	case inodes > 0 && freeInodes*100 < inodes*shortPercent:
		return Finding{check, Problem, fmt.Sprintf("%s has %d inodes left of %d", what, freeInodes, inodes),
			"free some: redoubt gc, redoubt trash empty; or make the disk larger"}
	}
	return well(check, "%s has %s left of %s", what, bytes(free), bytes(size))
}

// Memory judges what is available of the machine's memory, in bytes (MemAvailable of
// proc_meminfo(5)).
func Memory(available, total uint64) Finding {
	const check = "memory"
	if available < fewMemoryByte || available*100 < total*shortPercent {
		return Finding{check, Problem, fmt.Sprintf("%s of %s are available", bytes(available), bytes(total)),
			"give the machine more memory: 1 GiB is enough for most"}
	}
	return well(check, "%s of %s are available", bytes(available), bytes(total))
}

func bytes(n uint64) string { return progress.Size(int64(min(n, 1<<62))) }

// State makes a finding of a problem that status tells: it names its cure itself.
func State(problem string) Finding {
	return Finding{Check: "machine", Grade: Problem, Found: problem}
}

// AllWell is that status tells no problem.
func AllWell() Finding {
	return well("machine", "units, certificate, storage, cache and configuration are well")
}

// Report is all findings.
type Report []Finding

// Err is an error if there is a problem.
func (r Report) Err() error {
	n := 0
	for _, f := range r {
		if f.Grade == Problem {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 problem")
	}
	return fmt.Errorf("%d problems", n)
}

// String is the report for people: problems first.
func (r Report) String() string {
	var b strings.Builder
	for _, grade := range []Grade{Problem, Notice, Well} {
		for _, f := range r {
			if f.Grade != grade {
				continue
			}
			fmt.Fprintf(&b, "%-8s %-8s %s\n", f.Grade, f.Check, printable.Text(f.Found))
			if f.Cure != "" {
				fmt.Fprintf(&b, "%18s→ %s\n", "", printable.Text(f.Cure))
			}
		}
	}
	return b.String()
}
