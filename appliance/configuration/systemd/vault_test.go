package systemd_test

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
)

// What the service answers when it cannot, and what says nothing, is an error that
// holds nothing of the data. That it works is seen on a machine: test/machine.
func TestVaultThatRefuses(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"refused": {`{"error":"io.systemd.Credentials.NameMismatch","parameters":{"secret":1}}` + "\x00", "answers io.systemd.Credentials.NameMismatch"},
		"garbage": {"secret\x00", "answers no JSON"},
		"cut":     {`{"parameters":`, "does not answer"},
		"silent":  {"", "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = bufio.NewReader(conn).ReadBytes(0)
					_, _ = conn.Write([]byte(c.answer))
					conn.Close()
				}
			}()
			v := systemd.Vault{Socket: socket, Name: "test"}
			_, sealErr := v.Seal([]byte("secret"))
			_, openErr := v.Open([]byte("c2VjcmV0"))
			for _, err := range []error{sealErr, openErr} {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
		})
	}
	if _, err := (systemd.Vault{Socket: filepath.Join(t.TempDir(), "none")}).Seal(nil); err == nil {
		t.Error("no error without a service")
	}
}
