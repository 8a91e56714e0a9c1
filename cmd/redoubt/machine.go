package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/systemd"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// patience is how long the registry may take to answer after a change: long for
// a machine under load, short for somebody who waits for the rollback.
const patience = 30 * time.Second

// isMachine refuses what can only be done on a machine everywhere else, which is below
// root.
func isMachine(cmd *cobra.Command, root string) error {
	if _, err := os.Stat(filepath.Join(root, paths.Image)); err != nil {
		return fmt.Errorf("this is not a Redoubt machine: run it there, as in ssh debian@MACHINE sudo %s", cmd.CommandPath())
	}
	return nil
}

// found is the configuration of files, or else the machine's own.
func found(source userdata.Source, files []string) userdata.Found {
	if len(files) > 0 {
		return userdata.ReadFiles(files)
	}
	return source.Read()
}

// orElsewhere is why the configuration could not be used; off the machine, where none was
// named, it is that.
func orElsewhere(cmd *cobra.Command, source userdata.Source, files []string, name string, err error) error {
	if source.Root == "/" && len(files) == 0 && isMachine(cmd, "/") != nil {
		return fmt.Errorf("%w; or name %s", isMachine(cmd, "/"), name)
	}
	return err
}

// mayAct refuses what only root may do on the machine below root.
func mayAct(cmd *cobra.Command, root string, user int) error {
	if err := isMachine(cmd, root); err != nil {
		return err
	}
	if user != 0 {
		return fmt.Errorf("only root may do this: sudo %s", cmd.CommandPath())
	}
	return nil
}

// onMachine gives f this machine. Only root may have it.
func onMachine(cmd *cobra.Command, f func(m *appliance.Machine) error) error {
	if err := mayAct(cmd, "/", os.Geteuid()); err != nil {
		return err
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
