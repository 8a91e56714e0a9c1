package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md again")

const cliHead = `# Command line

Every verb of ` + "`redoubt`" + `, which is ` + "`/usr/bin/redoubt`" + ` on the machine and ` + "`dist/redoubt`" + ` after ` + "`make build`" + `. This is what
` + "`redoubt VERB --help`" + ` prints; ` + "`go test ./cmd/redoubt -run TestCLIPage -update`" + ` writes it. A verb ends with 0 when it did
what it was asked for, else with 1 and the reason on stderr. What reads or changes the machine needs root.

| verb | what it does |
|---|---|
`

// verbs are all commands that do something, as they are registered.
func verbs(parent *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range parent.Commands() {
		list = append(append(list, c), verbs(c)...)
	}
	return list
}

// section is what the page says of one verb.
func section(c *cobra.Command) string {
	var b strings.Builder
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.CommandPath(), prose(text))
	if c.Runnable() {
		fmt.Fprintf(&b, "\n```\n%s\n", c.UseLine())
		if c.HasAvailableLocalFlags() {
			fmt.Fprintf(&b, "\n%s", c.LocalFlags().FlagUsages())
		}
		b.WriteString("```\n")
	}
	return b.String()
}

// prose keeps what Markdown would take for marks.
func prose(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "|", `\|`).Replace(strings.TrimSpace(text))
}

// TestCLIPage holds docs/cli.md to the commands.
func TestCLIPage(t *testing.T) {
	var want strings.Builder
	want.WriteString(cliHead)
	list := verbs(rootCommand())
	for _, c := range list {
		if c.Runnable() {
			anchor := strings.ReplaceAll(c.CommandPath(), " ", "-")
			fmt.Fprintf(&want, "| [`%s`](#%s) | %s |\n", c.CommandPath(), anchor, prose(c.Short))
		}
	}
	for _, c := range list {
		want.WriteString(section(c))
	}
	const page = "../../docs/cli.md"
	if *update {
		if err := os.WriteFile(page, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want.String() {
		t.Error("docs/cli.md is not what the commands say: run go test ./cmd/redoubt -run TestCLIPage -update")
	}
}
