package butane_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/butane"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestTree(t *testing.T) {
	d, err := butane.Declare(read(t, "testdata/good.bu"), "testdata")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range d.Tree {
		fmt.Fprintf(&got, "%v %s:%s %s %d\n", f.Mode, f.Owner, f.Group, f.Path, len(f.Data))
	}
	want := `-rw-r--r-- : /etc/existing 4
-rw-r--r-- : /etc/systemd/system-preset/20-ignition.preset 48
Lrwxrwxrwx : /etc/systemd/system/masked.service 9
-rw-r--r-- : /etc/systemd/system/other.service 71
-rw-r--r-- : /etc/systemd/system/other.service.d/10-more.conf 17
-rw-r--r-- : /etc/thing/empty 0
-rw-r----- :redoubt-test /etc/thing/secret 3
drwxr-xr-x : /opt/plain 0
-rwxr-xr-x : /usr/bin/thing 49
Lrwxrwxrwx : /usr/bin/thing-link 5
-rw-r--r-- : /usr/lib/systemd/system/thing.service 72
-rw-r--r-- : /usr/lib/sysusers.d/thing.conf 26
drwxr-x--- redoubt-test:redoubt-test /var/lib/thing 0
`
	if got.String() != want {
		t.Errorf("got:\n%swant:\n%s", got.String(), want)
	}
	preset, _ := d.Tree.Lookup("/etc/systemd/system-preset/20-ignition.preset")
	if string(preset.Data) != "enable other.service\ndisable thing@.service one\n" {
		t.Errorf("preset: %q", preset.Data)
	}
	if want := []string{"other.service", "thing.service", "thing@one.service"}; !slices.Equal(d.Units, want) {
		t.Errorf("units: got %q, want %q", d.Units, want)
	}
	for path, want := range map[string]bool{"/etc/existing": true, "/usr/bin/thing": true, "/etc/thing/empty": false, "/etc/systemd/system/masked.service": true} {
		if got := slices.Contains(d.Replace, path); got != want {
			t.Errorf("%s may replace: %v, want %v", path, got, want)
		}
	}
}

// TestRejects holds that whatever cannot be honoured is named.
func TestRejects(t *testing.T) {
	for _, c := range []struct{ name, variant, bu, want string }{
		{"unknown key", "", "storage:\n  filez: []\n", "4:3: $.storage.filez: unused key filez"},
		{"duplicate path", "", "storage:\n  files: [{path: /a, contents: {inline: a}}, {path: /a, contents: {inline: b}}]\n", "duplicate entry"},
		{"missing local file", "", "storage:\n  files: [{path: /a, contents: {local: none}}]\n", "none: no such file"},
		{"local file outside", "", "storage:\n  files: [{path: /a, contents: {local: ../butane.go}}]\n", "local"},
		{"disks", "", "storage:\n  disks: [{device: /dev/vdb, wipe_table: true}]\n", "cannot honour storage.disks"},
		{"filesystems", "", "storage:\n  filesystems: [{device: /dev/vdb, format: ext4}]\n", "cannot honour storage.filesystems"},
		{"raid", "", "storage:\n  raid: [{name: r, level: raid1, devices: [/dev/vdb, /dev/vdc]}]\n", "cannot honour storage.raid"},
		{"luks", "", "storage:\n  luks: [{name: l, device: /dev/vdb}]\n", "cannot honour storage.luks"},
		{"kernel arguments", "", "kernel_arguments: {should_exist: [quiet]}\n", "cannot honour kernel_arguments"},
		{"users", "", "passwd: {users: [{name: u, ssh_authorized_keys: [k]}]}\n", "cannot honour passwd"},
		{"merge", "", "ignition: {config: {merge: [{inline: '{\"ignition\": {\"version\": \"3.4.0\"}}'}]}}\n", "cannot honour ignition.config"},
		{"proxy", "", "ignition: {proxy: {http_proxy: 'http://p.test'}}\n", "cannot honour ignition.proxy"},
		{"timeouts", "", "ignition: {timeouts: {http_total: 5}}\n", "cannot honour ignition.timeouts"},
		{"remote contents", "", "storage:\n  files: [{path: /a, contents: {source: 'https://a.test/x'}}]\n", "cannot honour a remote source"},
		{"verification", "", "storage:\n  files: [{path: /a, contents: {inline: a, verification: {hash: sha256-ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb}}}]\n", "cannot honour verification"},
		{"append", "", "storage:\n  files: [{path: /a, append: [{inline: a}]}]\n", "cannot honour append of /a"},
		{"no contents", "", "storage:\n  files: [{path: /a}]\n", "cannot honour missing contents of /a"},
		{"numeric owner", "", "storage:\n  files: [{path: /a, contents: {inline: a}, user: {id: 7}}]\n", "user.id or group.id of /a"},
		{"set-user-id", "variant: fcos\nversion: 1.7.0\n", "storage:\n  files: [{path: /a, mode: 04755, contents: {inline: a}}]\n", "mode of /a"},
		{"hard link", "", "storage:\n  links: [{path: /a, target: /b, hard: true}]\n", "cannot honour hard of /a"},
		{"emptied directory", "", "storage:\n  directories: [{path: /a, overwrite: true}]\n", "cannot honour overwrite of /a"},
		{"remote headers", "", "storage:\n  files: [{path: /a, contents: {source: 'https://a.test', http_headers: [{name: A, value: b}]}}]\n", "http_headers"},
		{"no YAML", "", "storage: [\n", "yaml"},
		{"unknown variant", "variant: none\nversion: 1.0.0\n", "", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := c.variant
			if head == "" {
				head = "variant: flatcar\nversion: 1.1.0\n"
			}
			_, err := butane.Tree([]byte(head+c.bu), "testdata")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestEveryMistake holds that one run names them all.
func TestEveryMistake(t *testing.T) {
	_, err := butane.Tree([]byte(`variant: flatcar
version: 1.1.0
kernel_arguments: {should_exist: [quiet]}
passwd: {users: [{name: u}]}
storage:
  files: [{path: /a}, {path: /b, append: [{inline: b}], contents: {inline: b}}]
`), "")
	for _, want := range []string{"kernel_arguments", "passwd", "contents of /a", "append of /b"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// TestAppliance holds that the appliance's own declaration is one we honour.
func TestAppliance(t *testing.T) {
	bu := read(t, "appliance.bu")
	// The program is built later; here its place is enough.
	repository := t.TempDir()
	for _, dir := range []string{"units", "butane"} {
		abs, err := filepath.Abs(filepath.Join("..", dir))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(repository, dir), os.DirFS(abs)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(repository, "dist"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repository, "dist/redoubt"), []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := butane.Declare(bu, repository)
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := d.Tree.Lookup("/usr/bin/redoubt"); !ok || f.Mode != 0o755 || string(f.Data) != "program" {
		t.Errorf("the program: %v %v", f.Mode, ok)
	}
	if !slices.Contains(d.Units, "redoubt-apply.service") {
		t.Errorf("presets are not applied to redoubt-apply.service: %v", d.Units)
	}
}
