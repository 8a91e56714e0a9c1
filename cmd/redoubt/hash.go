package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
)

func hashCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash",
		Short: "Make a passwordHash for auth.users of a password that you type, or of stdin",
		Long: `Make a passwordHash for auth.users of a password that you type, or of stdin.

At a terminal the password is asked for twice and not shown. Else it is the first line of
stdin. It is never an argument, which every user of the machine could see.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := readPassword(cmd)
			if err != nil {
				return err
			}
			hash, err := secrets.Hash(password)
			if err != nil {
				return fmt.Errorf("cannot use this password: %w", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), hash)
			return nil
		},
	}
}

// readPassword reads a new password: twice from a terminal, once from anything else.
func readPassword(cmd *cobra.Command) (string, error) {
	in := cmd.InOrStdin()
	if !isTerminal(in) {
		line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	fd := int(in.(*os.File).Fd())
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		text, err := term.ReadPassword(fd)
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same: try again")
	}
	return typed[0], nil
}
