//go:build machine

package machine_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
)

// key gives the desk a key for SSH, and returns its public half. The machine's host key is
// taken at the first login, as people do.
func (d *desk) key(t *testing.T) string {
	t.Helper()
	d.run(t, "sh", "-ec", `mkdir -p "$1/home/here" /etc/ssh/ssh_config.d
ssh-keygen -q -t ed25519 -N "" -f "$1/key"
cat >/etc/ssh/ssh_config <<END
Host *
	IdentityFile $1/key
	IdentitiesOnly yes
	BatchMode yes
	UserKnownHostsFile $1/known_hosts
	StrictHostKeyChecking accept-new
	LogLevel ERROR
END`, "sh", d.dir)
	public, err := os.ReadFile(filepath.Join(d.dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(public))
}

// letIn lets a key log in as a user that is there.
func (s *site) letIn(key, user string) {
	s.t.Helper()
	s.Run("sh", "-ec", `install -d -m 0700 -o "$2" -g "$2" "/home/$2/.ssh"
echo "$1" >"/home/$2/.ssh/authorized_keys"
chown "$2:" "/home/$2/.ssh/authorized_keys"`, "sh", key, user)
}

// on runs a script on the machine as a user who has logged in by SSH.
func (d *desk) on(user, script string) (string, error) {
	file := filepath.Join(d.dir, "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return "", err
	}
	return d.try("sh", "-ec", `exec ssh "$1" sh -es <"$2"`, "sh", user+"@"+hostname, file)
}

// TestLogin does what the user guide says of logging in, with a user-data whose users are
// the page's, and holds what each of them may do.
func TestLogin(t *testing.T) {
	dir := t.TempDir()
	host(t, `ssh-keygen -q -t ed25519 -N "" -f "$1/key"`, dir)
	public, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../../docs/user-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	document := regexp.MustCompile("(?s)#cloud-config\nusers:.*?```").FindString(string(guide))
	document = regexp.MustCompile(`"ssh-ed25519 [^"]*"`).ReplaceAllString(strings.TrimSuffix(document, "```"), `"`+strings.TrimSpace(string(public))+`"`)
	s := &site{t: t, aliceHash: hash(t)}
	s.Machine = machine.Boot(t, append(machine.Network(), machine.Seed(document)...)...)
	s.awaitApply()
	d := newDesk(t, s)
	s.letIn(d.key(t), "debian")
	p := &page{site: s, desk: d, replace: strings.NewReplacer(), before: map[string]func(){}}
	p.readSection(t, "user-guide.md", "Log in to the machine")

	d.run(t, "cp", filepath.Join(dir, "key"), filepath.Join(dir, "key.pub"), d.dir)
	host(t, `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=ci-3 -keyout "$1/r.key" -out "$1/r.csr"`, dir)
	request, err := os.ReadFile(filepath.Join(dir, "r.csr"))
	if err != nil {
		t.Fatal(err)
	}
	sign := "sudo -n redoubt ca sign --days 30 <<END\n" + string(request) + "END\n"
	for _, may := range []string{"sudo -n redoubt status", "sudo -n redoubt status --json", "sudo -n redoubt images list", "sudo -n redoubt images list 'team/**' --json", "sudo -n redoubt images du", "sudo -n redoubt trash list --json", "sudo -n redoubt ca trust", "sudo -n redoubt ca list",
		"sudo -n redoubt metrics", "sudo -n redoubt show --origin", "sudo -n redoubt ca client ci-1 --days 30 --out - | tar -t", sign, "journalctl -u redoubt-apply"} {
		if out, err := d.on("eve", may); err != nil || strings.Contains(out, "unable to resolve") {
			t.Errorf("%s: %v\n%s", may, err, out)
		}
	}
	for _, not := range []string{"sudo -n redoubt apply", "sudo -n redoubt ca client ci-2 --out /etc/x", "sudo -n redoubt ca client ../x --out -",
		"sudo -n redoubt ca client ci-2 --password-file /etc/shadow --pkcs12 --out -", "sudo -n redoubt ca revoke ci-1", "sudo -n redoubt ca sign /etc/shadow", "sudo -n redoubt status --root /x", "sudo -n redoubt images list --storage /x", "sudo -n redoubt images list 'x --storage=/x'", "sudo -n redoubt images delete a:b", "sudo -n redoubt trash empty", "sudo -n true", "cat /run/redoubt/registry.yml"} {
		if out, err := d.on("eve", not); err == nil {
			t.Errorf("%s: she may\n%s", not, out)
		}
	}
	if out, err := d.try("ssh", "root@"+hostname, "true"); err == nil {
		t.Errorf("root may log in: %s", out)
	}
	s.Run("visudo", "--check")
	for _, tool := range []string{"nano", "vi", "curl"} {
		s.Run("which", tool)
	}
}
