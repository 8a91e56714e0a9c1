//go:build image

package image_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// secretValue stands in the faulty user-data where a secret would. Nothing may
// show it.
const secretValue = "the-value-nobody-may-see"

// faulty is user-data with a mistake in line 4 and a mistyped key in line 8.
const faulty = `#cloud-config
redoubt:
  hostname: ` + host + `
  nodes: -3
  auth:
    users:
      - name: alice
        pasword: ` + secretValue + `
`

// TestMaintenance boots a machine whose user-data is wrong: it serves nothing, says
// why wherever somebody may look, and serves once what it says itself has been done.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	g := boot(t, vm.BIOS, []byte(faulty))
	g.answers(t, http.StatusServiceUnavailable)
	for name, f := range map[string]func(*testing.T, *guest){
		"client": maintenanceClient, "page": maintenancePage, "console": maintenanceConsole, "disk": maintenanceDisk,
	} {
		t.Run(name, func(t *testing.T) { f(t, g) })
	}
	t.Run("the operator's file", func(t *testing.T) { byFile(t, g) })
	t.Run("new user-data and a reboot", func(t *testing.T) { byUserData(t, g) })
}

// byFile ends the maintenance as the console says, and as the user who logs in: the
// user-data stays as wrong as it is.
func byFile(t *testing.T, g *guest) {
	document := base64.StdEncoding.EncodeToString(userData(t, "user-data.yaml"))
	out := g.sh(t, "runuser -u debian -- sh -ec 'echo "+document+" | base64 -d | sudo tee /etc/redoubt/config.yaml >/dev/null; sudo redoubt apply 2>&1'")
	reasons(t, "apply", out, []string{`:4:\d+: nodes: warning`, `:8:\d+: auth\.users\[0\]\.pasword: warning`, "only this is used"})
	g.serve(t)
	ca, img := g.ca(t), sample(t, 8)
	g.push(t, ca, "fixed/test:1", img)
	g.pull(t, ca, "fixed/test:1", img)
	if out := g.sh(t, "cat /run/issue.d/*redoubt* /run/motd.d/*redoubt* 2>/dev/null || true"); out != "" {
		t.Errorf("the console still says: %s", out)
	}
}

// byUserData corrects the user-data on its medium, of the same instance, and boots.
func byUserData(t *testing.T, g *guest) {
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	id := g.sh(t, "rm /etc/redoubt/config.yaml; cat /var/lib/cloud/data/instance-id; sync")
	if err := g.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	corrected := strings.Replace(string(userData(t, "user-data.yaml")), "  auth:\n", "  auth:\n    realm: corrected\n", 1)
	if err := g.Seed(ctx, []byte(corrected)); err != nil {
		t.Fatal(err)
	}
	g.start(t, g.Machine)
	g.serve(t)
	g.sh(t, "grep -q corrected /run/redoubt/registry.yml")
	if again := g.sh(t, "cat /var/lib/cloud/data/instance-id"); again != id {
		t.Errorf("the instance is %s, and was %s: this test is about the same", again, id)
	}
}

// Both mistakes, by line and key, as a text says them and as the page does.
var (
	inText = []string{`:4:\d+: nodes`, `:8:\d+: auth\.users\[0\]\.pasword`}
	inPage = []string{`(?s)line 4,.{1,200}nodes`, `(?s)line 8,.{1,200}auth\.users\[0\]\.pasword`}
)

// reasons wants both mistakes, and no value.
func reasons(t *testing.T, where, text string, want []string) {
	t.Helper()
	for _, want := range want {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%s does not say %s:\n%s", where, want, text)
		}
	}
	if strings.Contains(text, secretValue) {
		t.Errorf("%s shows a value:\n%s", where, text)
	}
}

// maintenanceClient asks for an image, by hand and with docker.
func maintenanceClient(t *testing.T, g *guest) {
	client := &http.Client{Transport: g.transport([]byte(g.ca(t)))}
	resp, err := client.Get("https://" + host + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(text, &body); err != nil || len(body.Errors) == 0 {
		t.Fatalf("the body is not an OCI error: %v: %s", err, text)
	}
	reasons(t, "the error's message", body.Errors[0].Message, inText)
	if strings.Contains(string(text), secretValue) {
		t.Errorf("the body shows a value: %s", text)
	}
	w := newWorld(t, g)
	w.trust(t, g.ca(t))
	w.docker(t)
	_, err = w.try(t, "", "docker", "pull", host+"/some/image:1")
	if err == nil {
		t.Fatal("docker was served")
	}
	reasons(t, "docker", err.Error(), inText)
}

// maintenancePage asks as a browser would, on both ports.
func maintenancePage(t *testing.T, g *guest) {
	client := &http.Client{Transport: g.transport([]byte(g.ca(t)))}
	for _, url := range []string{"https://" + host + "/", "http://" + host + "/"} {
		resp, err := client.Get(url)
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %d, %v", url, resp.StatusCode, err)
		}
		reasons(t, url, string(text), inPage)
	}
}

func maintenanceConsole(t *testing.T, g *guest) {
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	if _, err := g.AwaitConsole(ctx, regexp.MustCompile(`auth\.users.*pasword`)); err != nil {
		t.Fatal(err)
	}
	reasons(t, "the console", g.Console(), inText)
}

// maintenanceDisk looks for the reasons on the machine, and for the value where it
// has no business to be.
func maintenanceDisk(t *testing.T, g *guest) {
	reasons(t, "/run/issue.d", g.sh(t, "cat /run/issue.d/*redoubt*"), inText)
	reasons(t, "/run/motd.d", g.sh(t, "cat /run/motd.d/*redoubt*"), inText)
	reasons(t, "the journal", g.sh(t, "journalctl -b --no-pager -o cat -u redoubt-apply.service"), inText)
	if out := g.sh(t, "journalctl --namespace='*' -b --no-pager | grep -F '"+secretValue+"' || true; grep -rlF '"+secretValue+"' /run/redoubt /run/systemd /var/lib/redoubt || true"); out != "" {
		t.Errorf("the value is in %s", out)
	}
	if out := g.sh(t, "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -F '"+secretValue+"' || true"); out != "" {
		t.Errorf("the value is in an environment: %s", out)
	}
}
