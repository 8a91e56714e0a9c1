package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What only a machine can do says so everywhere else, whoever asks.
func TestOffTheMachine(t *testing.T) {
	for _, test := range []struct {
		command *cobra.Command
		args    string
	}{
		{applyCommand(), ""}, {applyCommand(), "--dry-run"}, {statusCommand(), ""}, {renewCommand(), ""}, {healthCommand(), ""},
		{metricsCommand(), ""}, {userCommand(), "list"}, {userCommand(), "add alice"}, {userCommand(), "remove alice"},
		{caCommand(), "trust"}, {caCommand(), "list"}, {caCommand(), "client ci-1 --out ci-1"}, {caCommand(), "sign"},
		{caCommand(), "revoke ci-1"}, {caCommand(), "replace"}, {showCommand(), ""}, {authCommand(), "check alice pull app"},
	} {
		_, _, err := runVerb(t, test.command, strings.Fields(test.args)...)
		if err == nil || !strings.HasPrefix(err.Error(), "this is not a Redoubt machine: run it there, as in ssh debian@MACHINE sudo ") {
			t.Errorf("%s %s: %v", test.command.Name(), test.args, err)
		}
	}
	for _, verb := range []func() *cobra.Command{gcCommand, trashCommand} {
		args := []string{}
		if verb().HasSubCommands() {
			args = append(args, "list")
		}
		if _, _, err := runVerb(t, verb(), args...); err == nil || !strings.Contains(err.Error(), "run it on the machine") {
			t.Errorf("%s: %v", verb().Name(), err)
		}
	}
	if out, _, err := runVerb(t, showCommand(), "--set", "hostname=registry.example.com"); err != nil || !strings.Contains(out, "mode: internal-ca") {
		t.Errorf("the defaults are not shown: %v\n%s", err, out)
	}
}

func TestOnlyRootActsOnAMachine(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "usr/lib/redoubt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mayAct(statusCommand(), root, 0); err != nil {
		t.Error(err)
	}
	if err := mayAct(statusCommand(), root, 65534); err == nil || err.Error() != "only root may do this: sudo status" {
		t.Error(err)
	}
}
