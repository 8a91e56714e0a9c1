package storagecheck

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// usual is how long a process takes from its start to its first check, at most, where
	// nothing is slow: a few hundredths of a second.
	usual = 500 * time.Millisecond
	// slowest bounds the factor: a check must end before systemd ends it
	// (redoubt-health.service).
	slowest = 4
)

// pace is how many times longer than usual everything may take, by how long this process
// took to come so far: a slow host is no fault of the storage.
func pace(took time.Duration) int { return min(max(int(took/usual), 1), slowest) }

// age is how long this process has run: proc_pid_stat(5), field 22, and CLOCK_BOOTTIME. It
// is nothing where that cannot be told.
func age() time.Duration {
	const ticks = 100 // a second, for programs: USER_HZ
	stat, err := os.ReadFile("/proc/self/stat")
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if err != nil || len(fields) < 20 {
		return 0
	}
	start, err := strconv.ParseInt(string(fields[19]), 10, 64)
	var now unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano()) - time.Duration(start)*(time.Second/ticks)
}
