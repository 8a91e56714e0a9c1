package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/test/vm"
)

const (
	bootLimit = 10 * time.Minute // a loaded machine under TCG
	offLimit  = 90 * time.Second
	still     = 20 * time.Second // how long nothing new is reported
)

// errMaintenance is a machine that serves nothing since its configuration is wrong.
var errMaintenance = errors.New("the machine is in maintenance mode")

// up boots the machine, waits until the registry answers, and prints how to use it.
func up(ctx context.Context, out io.Writer, s settings) error {
	if v, err := vm.Attach(s.dir); err == nil && v.Running() {
		return fmt.Errorf("a machine is already up in %s: make down stops it", s.dir)
	}
	qcow2, err := image()
	if err != nil {
		return err
	}
	data, valid, err := s.readUserData(os.Stderr)
	if err != nil {
		return err
	}
	accel, why, err := vm.ChooseAccel(ctx, qcow2)
	if err != nil {
		return err
	}
	m := vm.Machine{Dir: s.dir, Image: qcow2, Accel: accel, Forwards: s.forwards(), Detached: true, Shell: s.shell}
	what, hint := booted(m)
	fmt.Fprintf(out, "Booting %s with %s: %s.\n%s", what, strings.ToUpper(string(accel)), why, hint)
	v, err := boot(ctx, out, m, s, data)
	if err != nil {
		return err
	}
	if !valid { // and yet the registry answers
		data = nil
		fmt.Fprintf(out, "\n"+refused, s.userData)
	}
	ca, err := trust(ctx, out, v, s, data)
	if err != nil {
		return err
	}
	describe(out, s, data, ca, v.Age())
	return nil
}

// refused is told of a machine that serves although its user-data has mistakes: it has
// served before.
const refused = `The machine refused %s for the mistakes above. It serves with what its
disk has, and with the users of that: /etc/redoubt/config.yaml if it is there, else the last good
configuration. redoubt status on the machine says which.
`

// booted says what boots: the image, or the disk that a machine has. That one keeps the
// image it was made from, whatever was built since; the hint says how to get the newer one.
func booted(m vm.Machine) (what, hint string) {
	if m.IsNew() {
		return m.Image, ""
	}
	name, sum := m.Origin()
	if name == "" {
		return "the disk in " + m.Dir, ""
	}
	if now, err := vm.Sum(m.Image); err != nil || now == sum {
		return "the disk in " + m.Dir + ", made from " + name, ""
	}
	return "the disk in " + m.Dir + ", made from an older " + name,
		fmt.Sprintf("%s is newer. To boot it: make down, then rm -r %s, which removes the machine's images too, then make up.\n", m.Image, m.Dir)
}

// trust answers the CA that clients must trust, once a public certificate is there
// if one was asked for.
func trust(ctx context.Context, out io.Writer, v *vm.VM, s settings, data []byte) (authority, error) {
	if !public(data) {
		return fetchCA(v, s)
	}
	chain, err := awaitPublic(ctx, out, v, s)
	if errors.Is(err, errNoPublic) {
		fmt.Fprintf(out, "%v: the machine's own CA serves on.\n", err)
		return fetchCA(v, s)
	}
	if err != nil {
		return authority{}, err
	}
	return issuer(chain, s)
}

// boot starts the machine and waits for its registry. A kernel that panics gets
// another try; a machine that does not come up is not left behind.
func boot(ctx context.Context, out io.Writer, m vm.Machine, s settings, data []byte) (*vm.VM, error) {
	fresh := m.IsNew()
	for try := 1; ; try++ {
		v, err := start(ctx, m, data)
		if err == nil {
			err = await(ctx, out, v, s)
		}
		switch {
		case err == nil:
			return v, nil
		case errors.Is(err, errMaintenance) && s.force:
			return nil, fmt.Errorf("%w (it keeps running: make down stops it)", err)
		case v != nil:
			_ = v.Kill()
		}
		if fresh {
			_ = m.Forget()
		}
		if !errors.Is(err, vm.ErrPanic) || try == 2 {
			return nil, err
		}
		fmt.Fprintf(out, "%v: trying once more.\n", err)
	}
}

func start(ctx context.Context, m vm.Machine, data []byte) (*vm.VM, error) {
	if err := m.Seed(ctx, data); err != nil {
		return nil, err
	}
	return m.Start(ctx)
}

// await reports the boot's stages until the registry asks for a login.
func await(ctx context.Context, out io.Writer, v *vm.VM, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it only asks: are you up?
	}}
	told, at := "", time.Now()
	return v.Await(ctx, "a registry on port "+fmt.Sprint(s.port), func() (bool, error) {
		if stage := v.Stage(); stage != told {
			told, at = stage, time.Now()
			fmt.Fprintf(out, "%5s  %s\n", v.Age(), stage)
		} else if time.Since(at) > still {
			at = time.Now()
			fmt.Fprintf(out, "%5s  … %.90s\n", v.Age(), cmp.Or(v.LastLine(), stage))
		}
		return ask(ctx, client, fmt.Sprintf("https://127.0.0.1:%d/v2/", s.port))
	})
}

// ask tells whether the registry answers. Maintenance mode is an error that says
// what the machine says.
func ask(ctx context.Context, client *http.Client, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		return resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusOK, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return false, nil
	}
	return false, maintenance(text)
}

// maintenance answers the reasons in a body with status 503, or nil when it is
// only a registry that is not ready yet.
func maintenance(text []byte) error {
	var body struct {
		Errors []struct {
			Message string
			Detail  struct{ Errors []json.RawMessage }
		}
	}
	if json.Unmarshal(text, &body) != nil || len(body.Errors) == 0 || len(body.Errors[0].Detail.Errors) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errMaintenance, body.Errors[0].Message)
}

// down presses the machine's power button, and pulls its plug when that does not
// help. Its disk stays.
func down(ctx context.Context, out io.Writer, s settings) error {
	v, err := vm.Attach(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(out, "No machine is up.")
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Shutting the machine down.")
	ctx, cancel := context.WithTimeout(ctx, offLimit)
	defer cancel()
	if err := v.PowerOff(ctx); err != nil {
		fmt.Fprintf(out, "It did not power off in %s: pulling its plug.\n", offLimit)
		if err := v.Kill(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "It is down. Its images stay in %s: make up brings it back, make clean forgets it.\n", s.dir)
	return nil
}

// describe prints what a person types next.
func describe(out io.Writer, s settings, data []byte, ca authority, took time.Duration) {
	at := fmt.Sprintf("localhost:%d", s.port)
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	file := filepath.Join(dir, s.dir, caFile)
	if filepath.IsAbs(s.dir) {
		file = filepath.Join(s.dir, caFile)
	}
	fmt.Fprintf(out, `
The registry is up at https://%[1]s after %[2]s. Log in, push and pull:

%[6]s  %[3]sdocker login %[1]s -u %[4]s%[5]s
  tar -c README.md | docker import - %[1]s/demo/hello:1
  docker push %[1]s/demo/hello:1
  docker pull %[1]s/demo/hello:1

`, at, took, password(data), firstUser(data), stdin(data), startDocker())
	if ca.fingerprint == "" {
		fmt.Fprintf(out, "Its certificate is %s.\n", ca.proof)
	} else {
		fmt.Fprintf(out, `Its CA is in %[1]s (SHA-256 %[2]s, %[3]s).
docker does not check the certificate of a loopback address. For other clients, and other machines:

  mkdir -p /etc/docker/certs.d/%[4]s && cp %[1]s /etc/docker/certs.d/%[4]s/ca.crt
  mkdir -p /etc/containers/certs.d/%[4]s && cp %[1]s /etc/containers/certs.d/%[4]s/ca.crt

`, file, ca.fingerprint, ca.proof, at)
	}
	fmt.Fprintf(out, `What the machine says on its console: %s
make down stops it and keeps its images; make clean forgets it.
`, filepath.Join(s.dir, "serial.log"))
}

// startDocker is a line that starts docker's daemon, where none answers.
func startDocker() string {
	if exec.Command("docker", "version").Run() == nil {
		return ""
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return "  systemctl start docker\n"
	}
	return "  (dockerd >/tmp/dockerd.log 2>&1 &) ; sleep 5\n"
}
