package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuTree is where the host has cgroup v1's controller cpu, if it has one.
const cpuTree = "/sys/fs/cgroup/cpu"

// Slow gives the machine a share of one processor, until the returned function is called:
// all of it, with what it starts from now on.
func (m *Machine) Slow(share float64) (restore func()) {
	m.t.Helper()
	const period = 100000 // microseconds
	group := filepath.Join(cpuTree, fmt.Sprintf("redoubt-slow-%d", m.leader))
	if err := os.Mkdir(group, 0o755); err != nil {
		m.t.Fatalf("cannot slow the machine down: %v", err)
	}
	for file, value := range map[string]int{"cpu.cfs_period_us": period, "cpu.cfs_quota_us": int(share * period)} {
		if err := os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(value)), 0o644); err != nil {
			m.t.Fatalf("cannot slow the machine down: %v", err)
		}
	}
	for range 3 { // what is started meanwhile belongs to its parent's group
		m.move(group)
	}
	restore = func() {
		stat, _ := os.ReadFile(filepath.Join(group, "cpu.stat"))
		if exists(group) && strings.Contains(string(stat), "nr_throttled 0\n") {
			m.t.Errorf("the machine was not slowed down: %s", stat)
		}
		for range 600 {
			m.move(cpuTree)
			if os.Remove(group) == nil || !exists(group) {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		m.t.Errorf("cannot remove %s", group)
	}
	m.t.Cleanup(restore)
	return restore
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
