//go:build machine

package machine_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/machine"
	"github.com/redoubt-registry/redoubt/test/metadata"
)

// giver is a way in which a cloud gives a machine its user-data. The instance's id is
// always the same.
type giver struct {
	list   string // cloud-init's name for it
	boot   func(t *testing.T, userData string, files []machine.Plant) *machine.Machine
	change func(m *machine.Machine, userData string)
}

// givers are the datasources on which a corrected user-data must be read.
func givers() map[string]*giver {
	const drive = "/var/lib/cloud/seed/config_drive/openstack/latest/"
	overHTTP := func(service http.Handler, list string, give func(string)) *giver {
		g := &giver{list: list, change: func(_ *machine.Machine, userData string) { give(userData) }}
		g.boot = func(t *testing.T, userData string, files []machine.Plant) *machine.Machine {
			lan := machine.NewLan(t)
			files = append(files, lan.Host(metadataAddresses[0])...)
			server := &http.Server{Handler: service, ReadHeaderTimeout: time.Minute}
			go server.Serve(lan.Listen(net.JoinHostPort(metadataAddresses[0], "80"))) // it ends with the test
			give(userData)
			return lan.Boot(1, files...)
		}
		return g
	}
	ec2, nova := &metadata.Service{}, &metadata.Nova{}
	ec2.Set(metadata.Open) // cloud-init asks for a token only where the firmware is of EC2
	return map[string]*giver{
		"NoCloud": {"NoCloud", func(t *testing.T, userData string, files []machine.Plant) *machine.Machine {
			return machine.Boot(t, append(files, machine.Seed(userData)...)...)
		}, func(m *machine.Machine, userData string) {
			m.Write("/var/lib/cloud/seed/nocloud/user-data", userData, 0o600)
		}},
		"ConfigDrive": {"ConfigDrive", func(t *testing.T, userData string, files []machine.Plant) *machine.Machine {
			return machine.Boot(t, append(files, machine.Plant{Path: drive + "meta_data.json", Data: metadata.NovaMetadata(), Mode: 0o600},
				machine.Plant{Path: drive + "user_data", Data: []byte(userData), Mode: 0o600})...)
		}, func(m *machine.Machine, userData string) { m.Write(drive+"user_data", userData, 0o600) }},
		"EC2":       overHTTP(ec2, "Ec2", ec2.UserData),
		"OpenStack": overHTTP(nova, "OpenStack", nova.UserData),
	}
}

// TestCorrectedUserData boots a machine whose user-data is wrong and gives nobody a way
// to log in. The console says what can be done, and to do just that is enough: a document
// of the operator's own, or new user-data and a reboot. What is done once for an instance
// is not done again.
func TestCorrectedUserData(t *testing.T) {
	for name, g := range givers() {
		t.Run(name, func(t *testing.T) {
			const once = "runcmd: ['echo ran >>/var/lib/ran']\n"
			// Without an answer to DHCP, cloud-init waits half a minute before it takes the network that is there.
			noDHCP := machine.Plant{Path: "/usr/sbin/dhcpcd", Data: []byte("#!/bin/sh\nexit 1\n"), Mode: 0o755}
			list := machine.Plant{Path: "/etc/cloud/cloud.cfg.d/99-zz-test.cfg", Data: []byte("datasource_list: [" + g.list + "]\n"), Mode: 0o644}
			wrong := "#cloud-config\nwrite_files: [{path: /etc/redoubt/note, content: wrong}]\nredoubt:\n  hostnme: " + hostname + "\n"
			s := &site{t: t, aliceHash: hash(t)}
			s.Machine = g.boot(t, wrong+once, append(machine.Network(), list, noDHCP))
			s.awaitApply()
			if said := s.Run("cat", "/run/issue.d/50-redoubt.issue"); !strings.Contains(said, "unknown key") || !strings.Contains(said, "reboot") {
				t.Errorf("the console says:\n%s", said)
			}
			if said := s.Console(); !strings.Contains(said, "Nobody can log in here") || !strings.Contains(said, "ssh_authorized_keys") {
				t.Errorf("the console does not say that there is no key:\n%s", said)
			}
			const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6GSpPjzRPm8rfg0b5Bd2F3Uq9R4y1SgBUzTb5yyX0d operator"
			identity := func() string { return s.Run("cat", "/etc/ssh/ssh_host_ed25519_key.pub", "/var/lib/ran") }
			before := identity()

			// The other way out: the operator's own document, whatever is wrong below it.
			s.Write("/etc/redoubt/config.yaml", strings.Replace(userData(s.aliceHash), "#cloud-config\n", "", 1), 0o600)
			if out := s.Run("redoubt", "apply"); !strings.Contains(out, "only this is used, and nothing of user-data") {
				t.Errorf("apply:\n%s", out)
			}
			s.transport = s.Transport()
			s.mustServe("with the operator's document")
			s.Run("rm", "/etc/redoubt/config.yaml")

			g.change(s.Machine, fmt.Sprintf("%sssh_authorized_keys: ['%s']\nwrite_files: [{path: /etc/redoubt/note, content: right}]\n%s",
				userData(s.aliceHash), key, once))
			s.Reboot()
			s.awaitApply()
			s.transport = s.Transport()
			s.mustServe("with new user-data and a reboot")
			if after := identity(); after != before {
				t.Errorf("done once more:\n%s\nbefore:\n%s", after, before)
			}
			if out, err := s.TryRun("cat", "/run/issue.d/60-login.issue"); err == nil {
				t.Errorf("with a key, the login prompt says:\n%s", out)
			}
			if out := s.Run("cat", "/home/debian/.ssh/authorized_keys", "/etc/redoubt/note"); !strings.Contains(out, key) || !strings.HasSuffix(out, "right") {
				t.Errorf("keys and files of the new user-data:\n%s", out)
			}
		})
	}
}
