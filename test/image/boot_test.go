//go:build image

// Package image_test boots the image in QEMU, as a cloud would, and uses it with real
// clients. It needs root, and dist filled by scripts/image.
package image_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// TestBIOS is one machine's life: its first boot, every client, a clean reboot, a
// power cut, and a bigger disk.
func TestBIOS(t *testing.T) {
	t.Parallel()
	g := boot(t, vm.BIOS, userData(t, "user-data.yaml"))
	g.serve(t)
	ca := g.ca(t)
	steps := []struct {
		name string
		run  func(*testing.T)
	}{
		{"sound", func(t *testing.T) { g.sound(t) }},
		{"no EFI", func(t *testing.T) { g.sh(t, "! test -d /sys/firmware/efi") }},
		{"metadata is root's", func(t *testing.T) { g.closed(t) }},
		{"data fills the disk", func(t *testing.T) { g.full(t) }},
		{"door", func(t *testing.T) { testDoor(t, g, ca) }},
		{"clients", func(t *testing.T) { testClients(t, g, ca) }},
		{"reboot", func(t *testing.T) { g.keeps(t, ca, "reboot", g.reboot) }},
		{"power cut", func(t *testing.T) { g.keeps(t, ca, "cut", g.cut) }},
		{"bigger disk", func(t *testing.T) { g.keeps(t, ca, "grow", g.grow) }},
		{"sound at the end", func(t *testing.T) { g.sound(t) }},
	}
	for _, s := range steps {
		if !t.Run(s.name, s.run) {
			t.FailNow() // what follows stands on it
		}
	}
}

func TestUEFI(t *testing.T) {
	t.Parallel()
	g := boot(t, vm.UEFI, userData(t, "user-data.yaml"))
	g.serve(t)
	if got := g.secureBoot(t); got != "0" {
		t.Errorf("the firmware's variable SecureBoot is %s, want 0", got)
	}
	testRoundTrip(t, g)
	g.sound(t)
}

func TestSecureBoot(t *testing.T) {
	t.Parallel()
	g := boot(t, vm.SecureBoot, userData(t, "user-data.yaml"))
	g.serve(t)
	if got := g.secureBoot(t); got != "1" {
		t.Errorf("the firmware's variable SecureBoot is %s, want 1", got)
	}
	// The kernel's own view: it has checked the same keys, and locked itself down.
	if got := g.sh(t, "cat /sys/kernel/security/lockdown"); !strings.Contains(got, "[integrity]") {
		t.Errorf("the kernel's lockdown is %q, want integrity", got)
	}
	testRoundTrip(t, g)
	g.closed(t)
	g.sound(t)
}

func testRoundTrip(t *testing.T, g *guest) {
	t.Helper()
	ca, img := g.ca(t), sample(t, 7)
	g.push(t, ca, "firmware/test:1", img)
	g.pull(t, ca, "firmware/test:1", img)
}

// secureBoot is the last byte of the firmware's variable of that name. (UEFI 2.10,
// 3.3: SecureBoot, EFI_GLOBAL_VARIABLE.)
func (g *guest) secureBoot(t *testing.T) string {
	t.Helper()
	return g.sh(t, "od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | tr -d ' '")
}

// sound wants a machine on which nothing has failed, and nothing was complained of.
func (g *guest) sound(t *testing.T) {
	t.Helper()
	g.settle(t)
	var status struct {
		Status            string              `json:"status"`
		ExtendedStatus    string              `json:"extended_status"`
		Errors            []string            `json:"errors"`
		RecoverableErrors map[string][]string `json:"recoverable_errors"`
	}
	text := g.sh(t, "cloud-init status --wait --format json")
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatalf("cloud-init's status: %v: %s", err, text)
	}
	if status.Status != "done" || status.ExtendedStatus != "done" || len(status.Errors)+len(status.RecoverableErrors) > 0 {
		t.Errorf("cloud-init's status is %s", text)
	}
	if out := g.sh(t, "cloud-init schema --system"); !strings.Contains(out, "Valid schema user-data") {
		t.Errorf("cloud-init finds in our user-data: %s", out)
	}
	// What a failed unit was restarted into is forgotten by systemctl, not by this.
	if out := g.sh(t, "journalctl -b --no-pager -o cat -u 'redoubt-*' -p err"); out != "" {
		t.Errorf("our units logged errors:\n%s", out)
	}
	var report any
	if text := g.sh(t, "redoubt status --json"); json.Unmarshal([]byte(text), &report) != nil {
		t.Errorf("redoubt status --json: %s", text)
	}
}

// closed wants the metadata service of the cloud to be root's alone, by the kernel of
// the image and the modules that it has.
func (g *guest) closed(t *testing.T) {
	t.Helper()
	out := g.sh(t, `systemctl is-active redoubt-firewall.service
		setpriv --reuid=1000 --clear-groups timeout 30 bash -c 'exec 3<>/dev/tcp/169.254.169.254/80' 2>&1 || true
		nft list table inet redoubt`)
	if !strings.HasPrefix(out, "active") || !strings.Contains(out, "Connection refused") || strings.Contains(out, "packets 0 bytes 0 reject with tcp reset") {
		t.Errorf("the firewall does not keep uid 1000 from the metadata service:\n%s", out)
	}
}

// full wants the data partition to reach the end of the disk, and its file system
// the end of the partition. It answers the file system's size in bytes.
func (g *guest) full(t *testing.T) (bytes int64) {
	t.Helper()
	var disk, start, size int64
	out := g.sh(t, `part=$(findmnt -no SOURCE /var/lib/redoubt); part=${part#/dev/}
		echo $(cat /sys/class/block/$part/../size /sys/class/block/$part/start /sys/class/block/$part/size) $(findmnt -bno SIZE /var/lib/redoubt)`)
	if _, err := fmt.Sscan(out, &disk, &start, &size, &bytes); err != nil {
		t.Fatalf("cannot read the sizes %q: %v", out, err)
	}
	const sector, slack = 512, 4 << 20
	if free := (disk - start - size) * sector; free > slack {
		t.Errorf("%d bytes of the disk are behind the data partition", free)
	}
	// The inodes' tables and the journal are not the file system's to give.
	if bytes < size*sector*9/10 {
		t.Errorf("the file system has %d bytes, its partition %d", bytes, size*sector)
	}
	return bytes
}

// keeps pushes an image, lets something happen to the machine, and wants the image,
// all that the clients have pushed and the CA to be there as they were.
func (g *guest) keeps(t *testing.T, ca, name string, happen func(*testing.T)) {
	t.Helper()
	img := sample(t, uint64(len(name)))
	g.push(t, ca, "kept/"+name+":1", img)
	happen(t)
	g.serve(t)
	if got := g.ca(t); got != ca {
		t.Errorf("the CA is another one:\n%s\nwas\n%s", got, ca)
	}
	g.pull(t, ca, "kept/"+name+":1", img)
	for repository, img := range map[string]v1.Image{"docker": sample(t, 1), "podman": sample(t, 2), "containerd": sample(t, 4), "crane": sample(t, 5)} {
		g.pull(t, ca, "clients/"+repository+":1", img)
	}
}

// reboot asks systemd for a reboot, and waits for the next boot's shell. The reboot may
// end the shell before it answers: that another boot comes tells that it was asked for.
func (g *guest) reboot(t *testing.T) {
	t.Helper()
	before := g.sh(t, "cat /proc/sys/kernel/random/boot_id")
	g.Mark()
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit/6)
	defer cancel()
	if out, err := g.Sh(ctx, "systemctl --no-block reboot"); err != nil {
		t.Logf("the shell did not answer to the reboot: %v %s", err, out)
	}
	g.reborn(t, before)
}

// cut takes the machine's power away, at a moment when nothing was written out
// since the last answer that a client got.
func (g *guest) cut(t *testing.T) {
	t.Helper()
	before := g.sh(t, "cat /proc/sys/kernel/random/boot_id")
	if err := g.Reset(); err != nil {
		t.Fatal(err)
	}
	g.reborn(t, before)
}

// grow gives the machine a disk of twice the size.
func (g *guest) grow(t *testing.T) {
	t.Helper()
	before := g.full(t)
	ctx, cancel := context.WithTimeout(t.Context(), stepLimit)
	defer cancel()
	if err := g.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Resize(ctx, "20G"); err != nil {
		t.Fatal(err)
	}
	g.start(t, g.Machine)
	g.settle(t)
	if after := g.full(t); after < before+9<<30 {
		t.Errorf("the file system had %d bytes and has %d after the disk grew by 10 GiB", before, after)
	}
}

// reborn waits for the shell of another boot than the one with this id.
func (g *guest) reborn(t *testing.T, before string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	err := g.Await(ctx, "another boot", func() (bool, error) {
		try, cancel := context.WithTimeout(ctx, stepLimit/36)
		defer cancel()
		out, err := g.Sh(try, "cat /proc/sys/kernel/random/boot_id")
		return err == nil && strings.TrimSpace(out) != before, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
