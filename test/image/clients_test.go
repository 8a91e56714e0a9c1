//go:build image

package image_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// testClients pushes and pulls an image with every client. What one has pushed is
// pulled again by itself, from nothing, and by the crane library, which checks every
// digest.
func testClients(t *testing.T, g *guest, ca string) {
	w := newWorld(t, g)
	w.trust(t, ca)
	w.docker(t)
	for name, client := range map[string]func(*testing.T, *guest, *world, string){
		"docker": testDocker, "podman": testPodman, "skopeo": testSkopeo, "containerd": testContainerd, "crane": testCrane,
	} {
		t.Run(name, func(t *testing.T) { client(t, g, w, ca) })
	}
}

func testDocker(t *testing.T, g *guest, w *world, ca string) {
	img, as := sample(t, 1), host+"/clients/docker:1"
	if out, err := w.try(t, "wrong", "docker", "login", host, "-u", user, "--password-stdin"); err == nil || !strings.Contains(err.Error(), "unauthorized: wrong user or password") {
		t.Errorf("a login with the wrong password: %s, %v", out, err)
	}
	w.run(t, "docker", "load", "--quiet", "--input", w.archive(t, img, "clients/docker:1"))
	if _, err := w.try(t, "", "docker", "push", "--quiet", as); err == nil {
		t.Error("a push without a login was accepted")
	}
	if _, err := w.try(t, password, "docker", "login", host, "-u", user, "--password-stdin"); err != nil {
		t.Fatal(err)
	}
	w.run(t, "docker", "push", "--quiet", as)
	pushed := g.pull(t, ca, "clients/docker:1", img)
	w.run(t, "docker", "image", "rm", as)
	w.run(t, "docker", "pull", "--quiet", as)
	if got, want := w.run(t, "docker", "image", "inspect", "--format", "{{.Id}}", as), configID(t, img); got != want {
		t.Errorf("docker pulled %s, want %s", got, want)
	}
	if got, want := w.run(t, "docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", as), host+"/clients/docker@"+digest(t, pushed); got != want {
		t.Errorf("docker pulled %s, want %s", got, want)
	}
	w.run(t, "docker", "logout", host)
	w.run(t, "docker", "image", "rm", as)
	if _, err := w.try(t, "", "docker", "pull", "--quiet", as); err == nil {
		t.Error("a pull without a login was accepted")
	}
}

func testPodman(t *testing.T, g *guest, w *world, ca string) {
	img, as := sample(t, 2), host+"/clients/podman:1"
	podman := func(args ...string) []string {
		return append([]string{"podman", "--root=" + w.dir + "/podman", "--runroot=" + w.dir + "/podman-run",
			"--storage-driver=vfs", "--events-backend=none", "--cgroup-manager=cgroupfs"}, args...)
	}
	if _, err := w.try(t, "wrong", podman("login", host, "-u", user, "--password-stdin")...); err == nil {
		t.Error("a login with the wrong password was accepted")
	}
	if _, err := w.try(t, password, podman("login", host, "-u", user, "--password-stdin")...); err != nil {
		t.Fatal(err)
	}
	w.run(t, podman("load", "--quiet", "--input", w.archive(t, img, "clients/podman:1"))...)
	w.run(t, podman("push", "--quiet", as)...)
	g.pull(t, ca, "clients/podman:1", img)
	w.run(t, podman("image", "rm", as)...)
	w.run(t, podman("pull", "--quiet", as)...)
	if got, want := w.run(t, podman("image", "inspect", "--format", "sha256:{{.Id}}", as)...), configID(t, img); got != want {
		t.Errorf("podman pulled %s, want %s", got, want)
	}
	w.run(t, podman("logout", host)...)
	if _, err := w.try(t, "", podman("pull", "--quiet", as)...); err == nil {
		t.Error("a pull without a login was accepted")
	}
}

func testSkopeo(t *testing.T, g *guest, w *world, ca string) {
	img, as := sample(t, 3), "docker://"+host+"/clients/skopeo:1"
	credentials := "--creds=" + user + ":" + password
	if _, err := w.try(t, "", "skopeo", "inspect", "--creds="+user+":wrong", as); err == nil {
		t.Error("the wrong password was accepted")
	}
	w.run(t, "skopeo", "copy", "--quiet", "--dest-creds="+user+":"+password, "docker-archive:"+w.archive(t, img, "clients/skopeo:1"), as)
	pushed := g.pull(t, ca, "clients/skopeo:1", img)
	var got struct{ Digest string }
	if err := json.Unmarshal([]byte(w.run(t, "skopeo", "inspect", credentials, as)), &got); err != nil {
		t.Fatal(err)
	}
	if want := digest(t, pushed); got.Digest != want {
		t.Errorf("skopeo sees %s, want %s", got.Digest, want)
	}
	w.run(t, "skopeo", "copy", "--quiet", "--src-creds="+user+":"+password, as, "oci:"+w.dir+"/skopeo:1")
	w.run(t, "skopeo", "delete", credentials, as)
	if _, err := w.try(t, "", "skopeo", "inspect", credentials, as); err == nil {
		t.Error("a deleted image is still there")
	}
}

func testContainerd(t *testing.T, g *guest, w *world, ca string) {
	img, as := sample(t, 4), host+"/clients/containerd:1"
	ctr := func(args ...string) []string {
		return append([]string{"ctr", "--address", w.dir + "/exec/containerd/containerd.sock", "--namespace", "test", "images"}, args...)
	}
	// It looks for neither a CA nor a login where the others do.
	trust := []string{"--tlscacert", w.certs + "/ca.crt", "--user"}
	w.run(t, ctr("import", "--no-unpack", w.archive(t, img, "clients/containerd:1"))...)
	if _, err := w.try(t, "", append(ctr(append([]string{"push"}, trust...)...), user+":wrong", as)...); err == nil {
		t.Error("the wrong password was accepted")
	}
	w.run(t, append(ctr(append([]string{"push"}, trust...)...), user+":"+password, as)...)
	pushed := g.pull(t, ca, "clients/containerd:1", img)
	w.run(t, ctr("rm", "--sync", as)...)
	w.run(t, append(ctr(append([]string{"pull", "--snapshotter", "native"}, trust...)...), user+":"+password, as)...)
	if got, want := w.run(t, ctr("ls", "name=="+as)...), digest(t, pushed); !strings.Contains(got, want) {
		t.Errorf("containerd pulled %s, want %s", got, want)
	}
}

func testCrane(t *testing.T, g *guest, _ *world, ca string) {
	img := sample(t, 5)
	g.push(t, ca, "clients/crane:1", img)
	if got, want := digest(t, g.pull(t, ca, "clients/crane:1", img)), digest(t, img); got != want {
		t.Errorf("crane pulled %s, want %s", got, want)
	}
	index, err := random.Index(1<<16, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref := reference(t, "clients/index:1")
	if err := remote.WriteIndex(ref, index, g.options(t, ca)...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(ref, g.options(t, ca)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
}

// testDoor asks what the registry asks of those who knock.
func testDoor(t *testing.T, g *guest, ca string) {
	client := &http.Client{
		Transport:     g.transport([]byte(ca)),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	get := func(url, user, password string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for _, c := range []struct {
		url, user, password string
		want                int
	}{
		{"https://" + host + "/v2/", "", "", http.StatusUnauthorized},
		{"https://" + host + "/v2/", user, "wrong", http.StatusUnauthorized},
		{"https://" + host + "/v2/", "mallory", password, http.StatusUnauthorized},
		{"https://" + host + "/v2/", user, password, http.StatusOK},
		{"https://" + host + "/v2/_catalog", "", "", http.StatusUnauthorized},
	} {
		if got := get(c.url, c.user, c.password).StatusCode; got != c.want {
			t.Errorf("%s as %q with %q: %d, want %d", c.url, c.user, c.password, got, c.want)
		}
	}
	if got := get("https://"+host+"/v2/", "", "").Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") {
		t.Errorf("the challenge is %q, want Bearer", got)
	}
	resp := get("http://"+host+"/v2/", user, password)
	if got, want := resp.Header.Get("Location"), "https://"+host+"/v2/"; resp.StatusCode/100 != 3 || got != want {
		t.Errorf("http answers %d to %q, want a redirect to %q", resp.StatusCode, got, want)
	}
	anonymous := []remote.Option{remote.WithTransport(g.transport([]byte(ca))), remote.WithAuth(authn.Anonymous)}
	if err := remote.Write(reference(t, "anonymous/push:1"), sample(t, 6), anonymous...); err == nil {
		t.Error("an anonymous push was accepted")
	}
}
