package socket

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
)

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0:443": "127.0.0.1:443", "[::]:443": "127.0.0.1:443", "192.0.2.1:443": "192.0.2.1:443", "[::1]:443": "[::1]:443",
	} {
		addr, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Reachable(addr); got != want {
			t.Errorf("Reachable(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestBind(t *testing.T) {
	taken := listen(t, "tcp", "127.0.0.1:0")
	_, err := Bind(configuration.HTTP{Addr: taken.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a taken port: %v", err)
	}
	l, err := Bind(configuration.HTTP{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestSort(t *testing.T) {
	one, two := listen(t, "tcp", "127.0.0.1:0"), listen(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "s")
	unix := listen(t, "unix", path)
	_, port, err := net.SplitHostPort(one.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	set, err := Sort([]net.Listener{two, one, unix}, configuration.HTTP{Addr: ":" + port})
	if err != nil || len(set.Front) != 1 || set.Front[0] != one || len(set.Redirect) != 2 {
		t.Errorf("%+v, %v", set, err)
	}
	set, err = Sort([]net.Listener{two, one, unix}, configuration.HTTP{Net: "unix", Addr: path})
	if err != nil || len(set.Front) != 1 || set.Front[0] != unix {
		t.Errorf("%+v, %v", set, err)
	}
	if _, err := Sort([]net.Listener{one}, configuration.HTTP{Addr: ":1"}); err == nil || !strings.Contains(err.Error(), one.Addr().String()) {
		t.Errorf("sockets that do not agree: %v", err)
	}
	if got := Exposed([]net.Listener{one, unix}); got != "" {
		t.Errorf("Exposed = %s", got)
	}
	open := listen(t, "tcp", "0.0.0.0:0")
	if got := Exposed([]net.Listener{one, open}); got != open.Addr().String() {
		t.Errorf("Exposed = %s", got)
	}
}
