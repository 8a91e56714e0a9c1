package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/access/acl"
	"github.com/redoubt-registry/redoubt/appliance/access/robot"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens that machines log in with",
		Long: `Make, list and revoke the tokens that machines log in with.

A token is the password of a robot, which is the user robot:NAME in auth.acl and in the
audit log. It may do what the rules allow it, and no more than what it was made for.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

// tokenFlags are what a token is made for, as it is typed.
type tokenFlags struct {
	repositories, actions, groups []string
	expires                       string
	hash                          bool
}

func tokenCreateCommand() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token, and print it once",
		Long: `Make a token, and print it once: the machine keeps its SHA-256 alone.

The token is the only line of stdout, and the password of the login NAME. It counts at
once on every machine that shares the bucket. It may do what is allowed by auth.acl and by
--repositories and --actions, both: without rules in auth.acl the latter alone.

With --hash nothing is kept and no machine is needed: the item for auth.robots is printed
to stderr.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.robot(args[0], time.Now())
			if err != nil {
				return err
			}
			if f.hash {
				text := robot.NewText()
				r.Hash = robot.Hash(text)
				fmt.Fprintln(cmd.ErrOrStderr(), robotItem(r))
				fmt.Fprintln(cmd.OutOrStdout(), text)
				return nil
			}
			return onMachine(cmd, func(m *appliance.Machine) error {
				text, err := m.CreateToken(cmd.Context(), r)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "made the token of %s (%s), which is not shown again; it is the password of the login %s:\n", r.User(), r.Terms(), r.Name)
				_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.repositories, "repositories", nil, "`PATTERNS` of the repositories that it is for, as in auth.acl: 'team/**'")
	flags.StringSliceVar(&f.actions, "actions", []string{string(acl.Pull)}, "the `ACTIONS` that it is for: pull, push (which includes pull), delete, admin")
	flags.StringSliceVar(&f.groups, "groups", nil, "the `GROUPS` that the robot is in, for auth.acl")
	flags.StringVar(&f.expires, "expires", "90d", "how long it counts (90d, 12h), the `DAY` on which it does not any more (2027-01-01), or never")
	flags.BoolVar(&f.hash, "hash", false, "keep nothing, and print the item for auth.robots with the token's hash")
	_ = cmd.MarkFlagRequired("repositories") // it is there
	return cmd
}

// robot is what was typed.
func (f tokenFlags) robot(name string, now time.Time) (robot.Robot, error) {
	r := robot.Robot{Name: name, Groups: f.groups, Repositories: f.repositories}
	if problem := robot.NameProblem(name); problem != "" {
		return r, fmt.Errorf("cannot use this name of a robot: it %s", problem)
	}
	for _, text := range f.repositories {
		if problem := acl.PatternProblem(text); problem != "" {
			return r, fmt.Errorf("cannot use %q: it %s", text, problem)
		}
	}
	for _, g := range f.groups {
		if g == "" || g == acl.Everyone || strings.ContainsAny(g, ":\n\t") || strings.TrimSpace(g) != g {
			return r, fmt.Errorf("cannot use %q: it is no group's name", g)
		}
	}
	var err error
	if r.Actions, err = robot.ParseActions(f.actions); err != nil {
		return r, err
	}
	if len(r.Actions) == 0 || len(r.Repositories) == 0 {
		return r, fmt.Errorf("cannot make a token for nothing: --repositories and --actions need a value")
	}
	if r.Expires, err = robot.ParseLifetime(f.expires, now); err != nil {
		return r, fmt.Errorf("cannot use --expires %q: %w", f.expires, err)
	}
	return r, nil
}

// robotItem is a robot as an item of auth.robots.
func robotItem(r robot.Robot) string {
	item := fmt.Sprintf("- {name: %s, tokenHash: %q", r.Name, r.Hash)
	if !r.Expires.IsZero() {
		item += fmt.Sprintf(", expires: %q", r.Until())
	}
	actions := strings.Fields(r.What())
	for _, list := range []struct {
		key   string
		words []string
	}{{"groups", r.Groups}, {"repositories", r.Repositories}, {"actions", actions}} {
		var quoted []string
		for _, w := range list.words {
			quoted = append(quoted, fmt.Sprintf("%q", w))
		}
		if quoted != nil {
			item += fmt.Sprintf(", %s: [%s]", list.key, strings.Join(quoted, ", "))
		}
	}
	return item + "}"
}

func tokenListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the robots: what their tokens are for, until when, and their last use",
		Long: `List the robots: what their tokens are for, until when, and their last use.

A use is known a minute after it. Robots of auth.robots are listed too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				tokens, err := m.Tokens(cmd.Context(), finder())
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), tokens)
				}
				return printTokens(cmd.OutOrStdout(), tokens)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printTokens(out io.Writer, tokens []appliance.Token) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tREPOSITORIES\tACTIONS\tGROUPS\tEXPIRES\tLAST USED\tMADE")
	for _, t := range tokens {
		until, used, made := t.Until(), "-", "auth.robots"
		if t.Expired {
			until = "expired " + until
		}
		if !t.Used.IsZero() {
			used = t.Used.UTC().Format(time.RFC3339)
		}
		if !t.Configured {
			made = t.Created.UTC().Format(time.RFC3339) + " by " + t.By
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Where(), t.What(), cmp.Or(strings.Join(t.Groups, " "), "-"), until, used, made)
	}
	return w.Flush()
}

func tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke the token of a robot, on all machines",
		Long: `Revoke the token of a robot. It ends within 5 seconds on all machines that share the
bucket, with all that was given for it at the token endpoint. Where a machine cannot read
the bucket it ends within a minute.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return onMachine(cmd, func(m *appliance.Machine) error {
				if err := m.RevokeToken(cmd.Context(), args[0]); err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "revoked the token of robot:%s; it ends within 5 seconds\n", args[0])
				return nil
			})
		},
	}
}
