package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// patience is how long the registry may take to answer after a change: long for
// a machine under load, short for somebody who waits for the rollback.
const patience = 30 * time.Second

// onMachine gives f this machine. Only root may have it.
func onMachine(cmd *cobra.Command, f func(m *appliance.Machine) error) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may do this: sudo %s", cmd.CommandPath())
	}
	outlivePipe()
	units, err := systemd.Connect(cmd.Context())
	if err != nil {
		return err
	}
	defer units.Close()
	credentials := appliance.CredentialsDir(os.Getenv("CREDENTIALS_DIRECTORY"))
	return f(&appliance.Machine{
		Root:        "/",
		Units:       units,
		Source:      userdata.Source{Root: "/", Credentials: credentials},
		Credentials: credentials,
		Vault:       systemd.Vault{Socket: systemd.VaultSocket, Name: history.SealName},
		Now:         time.Now,
		Out:         printable.Writer(cmd.OutOrStdout()),
		Warnings:    printable.Writer(cmd.ErrOrStderr()),
		Patience:    patience,
		Settle:      time.Second,
	})
}

// outlivePipe makes the program go on where nobody reads its output any more, as after
// apply | head: what is under way is done to its end. A signal that is noticed does not
// kill, and to write to a broken pipe is then an error like others.
func outlivePipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
