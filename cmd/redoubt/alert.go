package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/printable"
)

func alertCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "alert UNIT",
		Short: "Tell people that a unit has failed (for redoubt-alert@.service)",
		Long: `Tell people that a unit has failed: on the console, in the journal under the
MESSAGE_ID 9f4c2d6b1e7a4f0c8b53a6d1c07e24f9, and where alerts.webhook says.

One cause is told once a day. A renewal that fails is told when a quarter of the
certificate's lifetime is left, or after three days.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				m.Out = printable.Writer(alarm{cmd.ErrOrStderr()})
				return m.Alert(cmd.Context(), args[0], os.Getenv("MONITOR_SERVICE_RESULT"))
			})
		},
	}
}

// alarm writes lines that the journal takes for critical (sd-daemon(3)).
type alarm struct{ io.Writer }

func (a alarm) Write(p []byte) (int, error) {
	if os.Getenv("JOURNAL_STREAM") == "" {
		return a.Writer.Write(p)
	}
	_, err := fmt.Fprintf(a.Writer, "<2>%s", p)
	return len(p), err
}
