package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func historyCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what the machine has served with, and what each time was changed",
		Long: `List what the machine has served with, and what each time was changed.

A generation is a configuration that was in force; the newest is first, and is in force
now. Ten are kept. Secrets are redacted: of one that changed it is said only that it did.
redoubt rollback goes back to one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				past, err := m.History()
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(m.Out, past)
				}
				printHistory(m.Out, past)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

func printHistory(w io.Writer, past []appliance.Past) {
	if len(past) == 0 {
		fmt.Fprintln(w, "the machine has served with no configuration yet")
	}
	for _, p := range past {
		fmt.Fprintf(w, "generation %d, %s", p.Number, p.Applied.Format(time.RFC3339))
		if len(p.Sources) > 0 {
			fmt.Fprintf(w, ", from %s", strings.Join(p.Sources, ", "))
		}
		if p.Back > 0 {
			fmt.Fprintf(w, ": generation %d again", p.Back)
		}
		if p.Now {
			fmt.Fprint(w, " (in force)")
		}
		fmt.Fprintln(w)
		if p.Problem != "" {
			fmt.Fprintln(w, "  cannot tell what it changed:", p.Problem)
		}
		for _, c := range p.Changes {
			switch {
			case c.Before == c.After:
				fmt.Fprintf(w, "  %s: changed\n", c.Path)
			case c.After == "":
				fmt.Fprintf(w, "  %s: %s removed\n", c.Path, c.Before)
			case c.Before == "":
				fmt.Fprintf(w, "  %s: %s\n", c.Path, c.After)
			default:
				fmt.Fprintf(w, "  %s: %s → %s\n", c.Path, c.Before, c.After)
			}
		}
	}
}
