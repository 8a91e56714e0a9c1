// Package socket takes over the sockets that systemd holds, and distinguishes the
// registry's own from those that only redirect to it.
package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/distribution/distribution/v3/configuration"
)

// Set is what a server listens on.
type Set struct {
	Front, Redirect []net.Listener
}

// Activated returns the sockets that systemd passes, which may be none.
func Activated() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot take the sockets from systemd: %w", err)
	}
	for _, l := range all {
		if l == nil {
			return nil, errors.New("cannot use a socket from systemd: it must be ListenStream=")
		}
	}
	return all, nil
}

// Bind listens on http.addr, for a server that was passed no socket.
func Bind(h configuration.HTTP) (net.Listener, error) {
	network := h.Net
	if network == "" {
		network = "tcp"
	}
	l, err := net.Listen(network, h.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on http.addr %s: %w (is another server running there?)", h.Addr, err)
	}
	return l, nil
}

// Sort separates the registry's sockets from the others by the port of http.addr.
func Sort(all []net.Listener, h configuration.HTTP) (Set, error) {
	var out Set
	var have []string
	for _, l := range all {
		if isFront(l.Addr(), h) {
			out.Front = append(out.Front, l)
		} else {
			out.Redirect = append(out.Redirect, l)
		}
		have = append(have, l.Addr().String())
	}
	if len(out.Front) == 0 {
		return out, fmt.Errorf("cannot use http.addr %s: the sockets are %s; they must agree", h.Addr, strings.Join(have, ", "))
	}
	return out, nil
}

func isFront(addr net.Addr, h configuration.HTTP) bool {
	if addr.Network() == "unix" || h.Net == "unix" {
		return addr.String() == h.Addr
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return false
	}
	_, want, err := net.SplitHostPort(h.Addr)
	return err == nil && (port == want || want == "0")
}

// Exposed returns the first address that is not on loopback, or an empty string.
func Exposed(all []net.Listener) string {
	for _, l := range all {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
			return tcp.String()
		}
	}
	return ""
}

// Reachable turns the address of a socket on all interfaces into one that this
// machine can dial.
func Reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host := "127.0.0.1" // a socket on :: accepts IPv4 too, unless IPV6_V6ONLY is set
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
