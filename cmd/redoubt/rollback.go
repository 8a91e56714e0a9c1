package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func rollbackCommand() *cobra.Command {
	var o appliance.RollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback [GENERATION]",
		Short: "Go back to what the machine served with before",
		Long: `Go back to what the machine served with before.

Without a GENERATION it is the one before the present one, or the one before a
configuration that waits to be confirmed; redoubt history lists them. It stays in force,
after a restart of the machine too, until the documents change or redoubt apply takes
them up again. If the registry is not well with it, what serves now comes back.

Certificates, images, and users of redoubt user are not part of a generation's files, but
who may log in is part of its configuration, and goes back with it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				n, err := strconv.Atoi(args[0])
				if err != nil || n < 1 {
					return fmt.Errorf("a generation is a number, such as 3: redoubt history lists them")
				}
				o.Generation = n
			}
			return onMachine(cmd, func(m *appliance.Machine) error { return m.Rollback(cmd.Context(), o) })
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.DryRun, "dry-run", false, "print the plan and change nothing")
	flags.BoolVar(&o.AcceptEmptyStorage, "accept-empty-storage", false, "take up another storage although images that clients had are not in it")
	flags.BoolVar(&o.Unconfirmed, "unconfirmed", false, "only from a configuration that waits to be confirmed (for redoubt-confirm.service)")
	return cmd
}
