//go:build integration

package registry

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/registry/socket"
)

// notifications reads what systemd was told within the time.
func (m *machine) notificationsFor(t *testing.T, d time.Duration) (lines []string) {
	t.Helper()
	buffer := make([]byte, 8192)
	check(t, m.notifications.SetReadDeadline(time.Now().Add(d)))
	for {
		n, err := m.notifications.Read(buffer)
		if err != nil {
			return lines
		}
		lines = append(lines, strings.Split(string(buffer[:n]), "\n")...)
	}
}

// silent waits until systemd is told nothing for a second: four periods or more, and what
// was on its way.
func (m *machine) silent(t *testing.T, who string) {
	t.Helper()
	until(t, who+" to say nothing", func() bool { return len(m.notificationsFor(t, time.Second)) == 0 })
}

func TestWatchdogIsFed(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t, "WATCHDOG_USEC=2000000")
	stop := m.load(t, 4)
	for range 5 {
		m.await(t, "WATCHDOG=1")
	}
	m.write(t, "maintenance.json", `{"hostname":"localhost"}`)
	m.reload(t)
	for range 5 { // a machine in maintenance is alive
		m.await(t, "WATCHDOG=1")
	}
	stop()
	if strings.Contains(m.log.String(), "redoubt-watchdog") {
		t.Error("the watchdog's own requests are in the log")
	}
}

// A process that is stopped, as one that is stuck, feeds nothing.
func TestWatchdogOfAFrozenProcess(t *testing.T) {
	m := newMachine(t)
	m.config(t, "info")
	m.start(t, "WATCHDOG_USEC=1000000")
	m.await(t, "WATCHDOG=1")
	m.signal(t, syscall.SIGSTOP)
	m.silent(t, "a frozen process")
	m.signal(t, syscall.SIGCONT)
	m.await(t, "WATCHDOG=1")
}

// watchedServer is a server of this process that a watchdog of 0.4 s waits for.
func watchedServer(t *testing.T) (*machine, *server, socket.Set) {
	t.Helper()
	m := newMachine(t)
	m.config(t, "error")
	t.Setenv("NOTIFY_SOCKET", m.path("notify"))
	t.Setenv("WATCHDOG_USEC", "400000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	s := newServer(Options{Config: m.path("registry.yml"), Listeners: []net.Listener{m.tls, m.http}}, logrus.New())
	check(t, s.start())
	t.Cleanup(s.close)
	sockets, err := s.listen()
	check(t, err)
	return m, s, sockets
}

// A handler that is stuck is noticed although everything around it runs: the
// watchdog is fed by a request, not by a clock.
func TestWatchdogOfAStuckHandler(t *testing.T) {
	m, s, sockets := watchedServer(t)
	s.run(sockets)
	defer s.front.Close()
	defer s.redirect.Close()
	s.feedWatchdog(t.Context(), sockets.Front[0].Addr())
	m.await(t, "WATCHDOG=1")
	release := make(chan struct{})
	healthy := s.current
	s.put(&generation{config: healthy.config, tls: healthy.tls, pair: healthy.pair,
		handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })})
	m.silent(t, "a stuck registry")
	s.put(healthy)
	close(release)
	m.await(t, "WATCHDOG=1")
}

// A handler that takes three periods of the watchdog to answer is slow, and not stuck.
func TestWatchdogOfASlowHandler(t *testing.T) {
	m, s, sockets := watchedServer(t)
	healthy := s.current
	var answers atomic.Int64
	s.put(&generation{config: healthy.config, tls: healthy.tls, pair: healthy.pair, handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(1200 * time.Millisecond)
		answers.Add(1)
	})})
	s.run(sockets)
	defer s.front.Close()
	defer s.redirect.Close()
	s.feedWatchdog(t.Context(), sockets.Front[0].Addr())
	until(t, "an answer", func() bool { return answers.Load() > 0 })
	m.notificationsFor(t, 200*time.Millisecond) // what was on its way
	before := answers.Load()
	const times = 20
	for range times {
		m.await(t, "WATCHDOG=1")
	}
	if n := answers.Load() - before; n > times/2 { // fed only by the answers it would say so once for each
		t.Errorf("a slow registry says so %d times in %d answers", times, n)
	}
	s.put(healthy)
}

// The watchdog asks as nobody else can.
func TestWatchdogWithClientCertificates(t *testing.T) {
	m := newMachine(t)
	m.mutual(t, requireThem)
	m.start(t, "WATCHDOG_USEC=400000")
	m.notificationsFor(t, 2*time.Second) // four periods, for which nobody need answer
	m.await(t, "WATCHDOG=1")
}
