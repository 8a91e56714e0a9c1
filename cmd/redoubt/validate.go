package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/redoubt-registry/redoubt/appliance"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

func validateCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate FILE…",
		Short: "Report every mistake in configuration files, each with its line",
		Long: `Report every mistake in configuration files, each as file:line:col: path: message,
with its line and a mark under the place. Values are masked in these lines, since
they may be secrets.

Each FILE is a configuration of its own: cloud-config with a redoubt: key, a MIME
message with such a part, either of them packed with gzip, or the configuration
alone. What it keeps in file:PATH or cred:NAME is not looked for. But a file below
/etc/redoubt is judged as the layer of this machine that it is, with all other layers
and what they name. The exit status is 0 when all are valid, else 1.

With --json the report is a JSON array on standard output, for editors and CI. Each
item has file, severity ("error" or "warning") and message, and where they are known
line, column, path and excerpt: the masked line as text, and the column and width of
the place in it. Lines and columns count from 1, columns and widths in characters.

Colours are for terminals alone; NO_COLOR turns them off (no-color.org).`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			var all config.Report
			for _, file := range files {
				if _, ok := appliance.LayerName("/", file); ok && os.Geteuid() != 0 {
					return fmt.Errorf("only root may read what this is a layer of: sudo %s %s", cmd.CommandPath(), file)
				}
				report := appliance.Validate("/", file, appliance.CredentialsDir(os.Getenv("CREDENTIALS_DIRECTORY")), time.Now())
				all = append(all, report...)
				if asJSON {
					continue
				}
				fmt.Fprint(cmd.ErrOrStderr(), report.Show(colors(cmd.ErrOrStderr())))
				if report.Err() == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", file)
				}
			}
			if asJSON {
				if err := writeFindings(cmd.OutOrStdout(), all); err != nil {
					return err
				}
			}
			if all.Err() != nil {
				return errors.New("the configuration is not valid")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// colors are for a terminal whose user has not turned them off.
func colors(w io.Writer) config.Colors {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return config.Colors{}
	}
	return config.Terminal()
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// finding is an entry as validate --json prints it.
type finding struct {
	File     string         `json:"file"`
	Line     int            `json:"line,omitempty"`
	Column   int            `json:"column,omitempty"`
	Path     string         `json:"path,omitempty"`
	Severity string         `json:"severity"`
	Message  string         `json:"message"`
	Excerpt  config.Excerpt `json:"excerpt,omitzero"`
}

func writeFindings(w io.Writer, report config.Report) error {
	out := make([]finding, 0, len(report))
	for _, e := range report {
		f := finding{File: e.File, Line: e.Line, Column: e.Column, Path: e.Path, Severity: "error", Message: e.Message, Excerpt: e.Excerpt}
		if e.Warning {
			f.Severity = "warning"
		}
		out = append(out, f)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(out)
}
