package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	idleLoad = 0.5 // processors that are busy
	idleFor  = 30 * time.Second
	idleLook = 3 * time.Second
)

// waitIdle waits until the machine has had next to nothing to do for a while, and
// answers what the table says of it. The load average would remember the compiler for
// minutes: what the processors do now is counted.
func waitIdle(ctx context.Context, most time.Duration) (string, error) {
	fmt.Fprintf(os.Stderr, "waiting until the machine is idle, at most %s\n", most)
	began, quiet := time.Now(), time.Now()
	busy, err := busyTime()
	if err != nil {
		return "", err
	}
	for time.Since(quiet) < idleFor {
		if time.Since(began) > most {
			return fmt.Sprintf("**The machine did not become idle in %.f minutes**: take the ratios, and those with care.", most.Minutes()), nil
		}
		at := time.Now()
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(idleLook):
		}
		now, err := busyTime()
		if err != nil {
			return "", err
		}
		if (now-busy).Seconds()/time.Since(at).Seconds() > idleLoad {
			quiet = time.Now()
		}
		busy = now
	}
	return fmt.Sprintf("The machine had been idle for %.f s before.", idleFor.Seconds()), nil
}

// busyTime is what all processors have spent on work since the boot: proc_stat(5), in
// ticks of 10 ms.
func busyTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:] {
		if i == 3 || i == 4 || i >= 8 { // idle, waiting for a disk, and what user already has
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read /proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
