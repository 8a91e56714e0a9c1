// Command packer-plugin-redoubt gives Packer the builder "redoubt-debian" and
// the provisioner "redoubt-butane".
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"
	"github.com/hashicorp/packer-plugin-sdk/version"
	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/packer/builder"
	"github.com/redoubt-registry/redoubt/packer/provisioner"
	"github.com/redoubt-registry/redoubt/packer/sandbox"
)

// pluginVersion is set by the build: -X main.pluginVersion=…. Packer takes three
// numbers only.
var pluginVersion = "0.1.0"

func main() {
	if sandbox.IsChild() {
		sandbox.Child()
	}
	// Packer leaves descriptors open; shells choke on those above 9.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "packer-plugin-redoubt: cannot close descriptors:", err)
		os.Exit(1)
	}
	set := plugin.NewSet()
	set.SetVersion(version.NewPluginVersion(pluginVersion, "", ""))
	set.RegisterBuilder("debian", new(builder.Builder))
	set.RegisterProvisioner("butane", new(provisioner.Provisioner))
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "packer-plugin-redoubt:", err)
		os.Exit(1)
	}
}
