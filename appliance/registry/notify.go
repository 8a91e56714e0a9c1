package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd, if it is there to listen.
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
		return "STATUS=" + oneLine(fmt.Errorf("%s", g.maintenance.Summary()))
	case g.pair != nil && g.pairFiles[0] == "":
		return "STATUS=serving without a trusted certificate"
	}
	return "STATUS=serving " + display(g.config.HTTP.Host)
}

// feedWatchdog asks the registry a question through its own socket, four
// times in each watchdog period, and tells systemd of every answer. An answer
// may take a whole period: a slow registry lives, one that is stuck is
// replaced. What the answer says does not matter: a full disk or maintenance
// is not mended by a restart.
func (s *server) feedWatchdog(ctx context.Context, addr net.Addr) {
	period, err := daemon.SdWatchdogEnabled(false)
	if err != nil || period == 0 {
		return
	}
	go func() {
		tick := time.NewTicker(period / 4)
		defer tick.Stop()
		for {
			go func() {
				if s.ask(ctx, addr, period) == nil {
					s.notify(daemon.SdNotifyWatchdog)
				}
			}()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
}

// ask makes one request of its own over a new connection.
func (s *server) ask(ctx context.Context, addr net.Addr, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, addr.Network(), reachable(addr))
		},
		// It is this process at the other end, whatever its certificate says.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec
	}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if s.acquireTLS() {
		scheme = "https"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/v2/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", s.watchdogAgent)
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// reachable turns the address of a socket on all interfaces into loopback.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host := "127.0.0.1" // a socket on :: takes IPv4 too, unless it is told not to
	if tcp.IP.To4() == nil && onlyIPv6() {
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(tcp.Port))
}

// onlyIPv6 reads the kernel's default of IPV6_V6ONLY.
func onlyIPv6() bool {
	data, err := os.ReadFile("/proc/sys/net/ipv6/bindv6only")
	return err == nil && strings.TrimSpace(string(data)) == "1"
}

// limitMemory tells the collector of the unit's MemoryMax= or MemoryHigh=, so
// that it works harder before the kernel kills. GOMEMLIMIT, which the runtime
// reads by itself, comes first.
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
