//go:build integration

package registry

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
)

var receiver = regexp.MustCompile("(?ms)^```python\n(.*?)^```")

// The receiver of the documentation takes what the registry signs, and nothing else.
func TestReceiverOfTheDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/webhooks.md")
	check(t, err)
	code := receiver.FindSubmatch(page)
	if code == nil {
		t.Fatal("docs/webhooks.md has no receiver")
	}
	m := newMachine(t)
	m.write(t, "receiver.py", string(code[1]))
	m.write(t, "secret", hookSecret+"\n")
	free := listen(t)
	addr := free.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	free.Close()
	var out lockedBuffer
	python := exec.Command("python3", m.path("receiver.py"), port, m.path("secret"))
	python.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	python.Stdout, python.Stderr = &out, &out
	check(t, python.Start())
	t.Cleanup(func() {
		_ = python.Process.Kill()
		_ = python.Wait()
		if t.Failed() {
			t.Logf("the receiver said: %s", out.String())
		}
	})
	until(t, "the receiver", func() bool {
		answer, err := http.Post("http://"+addr+"/", "application/json", strings.NewReader(`{"events":[]}`))
		if err != nil {
			return false
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("what nobody signed is answered %s", answer.Status)
		}
		return true
	})
	m.tell(t, webhook.Endpoint{Name: "a", URL: "http://" + addr + "/", Format: webhook.Distribution, Secret: hookSecret,
		Spool: m.path("notifications/a"), Limit: 1 << 20})
	m.config(t, "error")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "team/app:v1"))
	until(t, "the push", func() bool { return strings.Contains(out.String(), "push team/app:v1 by alice\n") })
}
