//go:build integration

package clients

import (
	"net"
	"os"
	"strings"
	"testing"
)

// In a network of its own the registry's name leads to where Forward says, and the
// host sees nothing of it.
func TestOwnNetwork(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello\n"))
			c.Close()
		}
	}()
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	d := New(t, Options{Name: "registry.test", Addresses: []string{"192.0.2.10"}})
	d.Forward("192.0.2.10:443", host.Addr().String())
	out, err := d.Command(t.Context(), "bash", "-ec", "read -r word </dev/tcp/registry.test/443; echo $word; echo x >/etc/throw-away").CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("%v %s", err, out)
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(hosts) {
		t.Errorf("the host's /etc/hosts was changed: %v", err)
	}
	if _, err := os.Stat("/etc/throw-away"); err == nil {
		t.Error("what was written at the desk is on the host")
	}
}

// A desk can be in the network of another.
func TestTheirNetwork(t *testing.T) {
	first := New(t, Options{Name: "registry.test", Addresses: []string{"192.0.2.10"}})
	second := New(t, Options{Network: first.pid, Name: "other.test", Addresses: []string{"192.0.2.10"}})
	l, err := first.Listen("192.0.2.10:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte("hello\n"))
			c.Close()
		}
	}()
	out, err := second.Command(t.Context(), "bash", "-ec", "read -r word </dev/tcp/other.test/80; echo $word").CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("%v %s", err, out)
	}
}

// Debian's docker runs at a desk, and ends with the test.
func TestDocker(t *testing.T) {
	var dir string
	t.Run("runs", func(t *testing.T) {
		d := New(t, Options{Name: "registry.test", Addresses: []string{"192.0.2.10"}})
		dir = d.Dir
		d.Docker("--storage-driver=vfs")
		out, err := d.Command(t.Context(), "docker", "info", "--format", "{{.Driver}} {{.DockerRootDir}}").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "vfs "+d.Dir+"/docker" {
			t.Errorf("%v %s\n%s", err, out, d.DockerLog())
		}
	})
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
}
