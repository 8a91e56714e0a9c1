package program

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports that FreePort gives. They lie below those that the kernel takes for
// outgoing connections (ip_local_port_range), which come and go by themselves.
const (
	firstPort = 10_000
	lastPort  = 32_000
)

var (
	givenLock sync.Mutex
	given     = map[int]bool{}
)

// FreePort is a port of an address on which nobody listens, by TCP and by UDP. It
// is not given again in this process: tests that run side by side get each their
// own, also before they listen there.
func FreePort(t interface {
	Helper()
	Fatal(args ...any)
}, host string) int {
	t.Helper()
	givenLock.Lock()
	defer givenLock.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if !given[port] && free(host, port) {
			given[port] = true
			return port
		}
	}
	t.Fatal("cannot find a port on " + host + " on which nobody listens")
	return 0
}

// FreeAddress is a loopback address with a port that FreePort gives.
func FreeAddress(t interface {
	Helper()
	Fatal(args ...any)
}) string {
	t.Helper()
	const host = "127.0.0.1"
	return net.JoinHostPort(host, strconv.Itoa(FreePort(t, host)))
}

func free(host string, port int) bool {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	l.Close()
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	u.Close()
	return true
}
