package registry

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/redoubt-registry/redoubt/appliance/registry/watchdog"
)

// notify sends lines to systemd, if it started this process.
func (s *server) notify(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		s.log.WithError(err).Warn("cannot notify systemd")
	}
}

// notifyReloading is what Type=notify-reload asks for (sd_notify(3)).
func (s *server) notifyReloading() {
	s.notify(daemon.SdNotifyReloading, "STATUS=reloading", daemon.SdNotifyMonotonicUsec())
}

// status is the line that systemctl status shows.
func (s *server) status() string {
	g := s.acquire()
	defer g.release()
	switch {
	case g.maintenance != nil:
		return "STATUS=" + oneLine(errors.New(g.maintenance.Summary()))
	case g.pair != nil && g.pairFiles[0] == "":
		return "STATUS=serving without a trusted certificate"
	}
	return "STATUS=serving " + display(g.config.HTTP.Host)
}

// feedWatchdog tells systemd that the registry is alive as long as it answers
// on its own socket, if the unit asks for that.
func (s *server) feedWatchdog(ctx context.Context, addr net.Addr) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period == 0 {
		return
	}
	go watchdog.Watchdog{
		Addr: addr, TLS: s.servesTLS(), Agent: s.watchdogAgent, Certificate: s.self, Period: period,
		Alive: func() { s.notify(daemon.SdNotifyWatchdog) },
	}.Run(ctx)
}

// limitMemory sets the garbage collector's limit from the unit's MemoryMax= or
// MemoryHigh=, so that it collects more before the kernel kills the process. GOMEMLIMIT,
// which the runtime reads by itself, has priority.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return
	}
	_, group, ok := strings.Cut(strings.TrimSpace(string(self)), "::")
	if !ok {
		return
	}
	for _, file := range []string{"memory.high", "memory.max"} {
		data, err := os.ReadFile("/sys/fs/cgroup" + group + "/" + file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil {
			debug.SetMemoryLimit(limit / 10 * 9)
			return
		}
	}
}
