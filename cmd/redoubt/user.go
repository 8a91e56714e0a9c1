package main

import (
	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
)

func userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, remove and list the logins of this machine",
		Long: `Add, remove and list the logins of this machine.

A change is written to /etc/redoubt/config.d/users.yaml and applied, as redoubt apply
does. Users that other layers have stay as they are.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(userAddCommand(), userRemoveCommand(), userListCommand())
	return cmd
}

func userAddCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, or give one another password, and apply that",
		Long: `Add a user, or give one another password, and apply that.

At a terminal the password is asked for twice and not shown. Else it is the first line of
stdin. It is never an argument, which every user of the machine could see, and is kept
as a bcrypt hash alone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				password, err := readPassword(cmd)
				if err != nil {
					return err
				}
				return m.AddUser(cmd.Context(), args[0], password)
			})
		},
	}
}

func userRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a user, wherever it was written, and apply that",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.RemoveUser(cmd.Context(), args[0]) })
		},
	}
}

func userListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the logins with a password, and where each was written",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error { return m.ListUsers() })
		},
	}
}
