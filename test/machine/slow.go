package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// period is what a share of the processor is measured in, in microseconds.
const period = 100000

// Slow gives the machine a share of one processor, until the returned function is called:
// all of it, with what it starts from now on.
func (m *Machine) Slow(share float64) (restore func()) {
	m.t.Helper()
	quota := strconv.Itoa(int(share * period))
	limit := m.limitV2
	if exists(cpuTree) {
		limit = m.limitV1
	}
	group, lift, err := limit(quota)
	if err != nil {
		m.t.Fatalf("cannot slow the machine down: %v", err)
	}
	restore = sync.OnceFunc(func() {
		stat, _ := os.ReadFile(filepath.Join(group, "cpu.stat"))
		if !throttled(string(stat)) {
			m.t.Errorf("the machine was not slowed down: %s", stat)
		}
		if err := lift(); err != nil {
			m.t.Errorf("the machine is still slow: %v", err)
		}
	})
	m.t.Cleanup(restore)
	return restore
}

// throttled says whether a group was kept from the processors, by its cpu.stat.
func throttled(stat string) bool {
	for line := range strings.Lines(stat) {
		if count, ok := strings.CutPrefix(line, "nr_throttled "); ok {
			return strings.TrimSpace(count) != "0"
		}
	}
	return false
}

// cpuTree is where the host has cgroup v1's controller cpu, if it has one.
const cpuTree = "/sys/fs/cgroup/cpu"

// limitV1 puts the machine into a group of its own below cgroup v1's controller cpu
// (Documentation/scheduler/sched-bwc.rst in Linux).
func (m *Machine) limitV1(quota string) (group string, lift func() error, err error) {
	group = filepath.Join(cpuTree, fmt.Sprintf("redoubt-slow-%d", m.leader))
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", nil, err
	}
	for file, value := range map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": quota} {
		if err := os.WriteFile(filepath.Join(group, file), []byte(value), 0o644); err != nil {
			return "", nil, err
		}
	}
	for range 3 { // what is started meanwhile belongs to its parent's group
		m.move(group)
	}
	return group, func() error {
		var err error
		for range 600 {
			m.move(cpuTree)
			if err = os.Remove(group); err == nil || !exists(group) {
				return nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		return err
	}, nil
}

// limitV2 limits the machine's own group, which its keeper made, where the host has
// cgroup v2 alone (cgroups(7); Documentation/admin-guide/cgroup-v2.rst in Linux, "CPU").
func (m *Machine) limitV2(quota string) (group string, lift func() error, err error) {
	const tree = "/sys/fs/cgroup"
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", m.leader))
	if err != nil {
		return "", nil, err
	}
	top, err := topGroup(string(own))
	if err != nil {
		return "", nil, err
	}
	// Whether the host's systemd has it on depends on its units. It stays on: others may need it now.
	if err := os.WriteFile(filepath.Join(tree, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
		return "", nil, err
	}
	group = filepath.Join(tree, top)
	set := func(quota string) error {
		return os.WriteFile(filepath.Join(group, "cpu.max"), fmt.Appendf(nil, "%s %d", quota, period), 0o644)
	}
	return group, func() error {
		if !exists(group) { // the machine has ended
			return nil
		}
		return set("max")
	}, set(quota)
}

// topGroup is the first part of a process's group in cgroup v2, of its /proc/PID/cgroup.
func topGroup(text string) (string, error) {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(line, "0::/"); ok {
			if top, _, _ := strings.Cut(strings.TrimSpace(path), "/"); top != "" {
				return top, nil
			}
		}
	}
	return "", fmt.Errorf("no group of its own in cgroup v2: %q", text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// move puts all processes of the machine into a group.
func (m *Machine) move(group string) {
	for _, pid := range descendants(m.leader) {
		// It may have ended since.
		_ = os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
	}
}

// descendants are a process and all below it: proc_pid_stat(5), field 4.
func descendants(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	below := map[int][]int{}
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // it may have ended since
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		parent, _ := strconv.Atoi(fields[1])
		below[parent] = append(below[parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, below[all[i]]...)
	}
	return all
}
