//go:build integration

package registry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
)

// uiPage is a web interface in its smallest form: it logs in, lists, looks at a tag, and
// deletes it. It tells its own server what it saw.
const uiPage = `<!doctype html><title>A page of another origin</title><script>
const registry = %q, headers = {
	Authorization: "Basic " + btoa(%q),
	Accept: "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json",
}
async function ask(method, path, credentials = "include") {
	try {
		const r = await fetch(registry + path, {method, credentials, headers: credentials == "omit" ? {} : headers})
		return {status: r.status, digest: r.headers.get("Docker-Content-Digest") || "", login: r.headers.get("WWW-Authenticate") || "", body: await r.text()}
	} catch (e) {
		return {error: String(e)} // what the browser keeps from the page
	}
}
(async () => {
	const seen = {}
	seen.stranger = await ask("GET", "/v2/", "omit")
	seen.catalog = await ask("GET", "/v2/_catalog")
	seen.tags = await ask("GET", "/v2/team/app/tags/list")
	seen.manifest = await ask("GET", "/v2/team/app/manifests/1")
	seen.put = await ask("PUT", "/v2/team/app/manifests/2")
	seen.deleted = await ask("DELETE", "/v2/team/app/manifests/" + seen.manifest.digest)
	seen.after = await ask("GET", "/v2/team/app/tags/list")
	await fetch("/seen", {method: "POST", body: JSON.stringify(seen)})
})()
</script>`

// sight is what a page saw of an answer.
type sight struct {
	Status                     int
	Digest, Login, Body, Error string
}

// browse opens a page that is not the registry's in a real browser, and answers what it
// saw. The browser trusts the registry's certificate by its key.
func browse(t *testing.T, m *machine, server *httptest.Server, seen <-chan map[string]sight) map[string]sight {
	t.Helper()
	program, err := exec.LookPath("chromium-headless-shell")
	if err != nil {
		t.Fatalf("cannot find a browser: %v; run make bootstrap", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pair, err := tls.LoadX509KeyPair(m.path("certificates/current/tls.crt"), m.path("certificates/current/tls.key"))
	check(t, err)
	key := sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo)
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--no-proxy-server", "--user-data-dir="+t.TempDir(), "--remote-debugging-port=0",
		"--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(key[:]), server.URL)
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Debian's is a script
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second // for who holds its output
	check(t, cmd.Start())
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	select {
	case s := <-seen:
		return s
	case <-ctx.Done():
		t.Fatalf("the page never told what it saw:\n%s", tail(said.String(), 4000))
		return nil
	}
}

// origin serves the page from an origin of its own.
func origin(t *testing.T) (*httptest.Server, *http.ServeMux) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, mux
}

// A web interface on another host works in a real browser with the headers of the user
// guide; one whose origin is not configured sees nothing.
func TestARealBrowser(t *testing.T) {
	t.Parallel()
	ui, uiMux := origin(t)
	evil, evilMux := origin(t)
	m := newMachine(t)
	m.headers = ", Access-Control-Allow-Origin: ['" + ui.URL + "'], Access-Control-Allow-Credentials: ['true'], Access-Control-Allow-Methods: [GET, HEAD, DELETE]"
	m.config(t, "info")
	m.start(t)
	image, err := random.Image(1000, 1)
	check(t, err)
	check(t, m.push(image, "team/app:1"))
	seen := make(chan map[string]sight, 1)
	for _, mux := range []*http.ServeMux{uiMux, evilMux} {
		mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, uiPage, "https://"+m.host(), "alice:"+password)
		})
		mux.HandleFunc("POST /seen", func(_ http.ResponseWriter, r *http.Request) {
			var s map[string]sight
			if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
				t.Errorf("what the page saw: %v", err)
			}
			seen <- s
		})
	}
	for what, s := range browse(t, m, evil, seen) {
		if s.Error == "" {
			t.Errorf("a page of an origin that is not configured sees %s: %+v", what, s)
		}
	}
	got := browse(t, m, ui, seen)
	digest, err := image.Digest()
	check(t, err)
	for what, want := range map[string]sight{
		"catalog":  {Status: 200, Body: "{\"repositories\":[\"team/app\"]}\n"},
		"tags":     {Status: 200, Body: "{\"name\":\"team/app\",\"tags\":[\"1\"]}\n"},
		"manifest": {Status: 200, Digest: digest.String()},
		"deleted":  {Status: 202},
		"put":      {Error: "TypeError: Failed to fetch"}, // a method that is not configured
	} {
		s := got[what]
		if want.Body == "" {
			s.Body = ""
		}
		if s != want {
			t.Errorf("%s: %+v, want %+v", what, got[what], want)
		}
	}
	if s := got["stranger"]; s.Status != 401 || s.Login == "" {
		t.Errorf("without a login the page must see that it is asked for one: %+v", s)
	}
	if s := got["after"]; s.Error != "" || s.Status == 200 && s.Body == got["tags"].Body {
		t.Errorf("after the deletion: %+v", s)
	}
}
