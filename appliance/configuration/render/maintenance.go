package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/printable"
	"github.com/redoubt-registry/redoubt/units"
)

// Notice is the content of MaintenancePath: why the machine does not serve.
type Notice struct {
	Hostname string        `json:"hostname"`
	Errors   config.Report `json:"errors"`
}

// Maintenance returns the files of a machine that has no configuration to serve
// with, and says why: to clients, on the console and at the login.
func Maintenance(hostname string, report config.Report) (tree.Tree, error) {
	errs := report.Errors()
	for i, e := range errs {
		errs[i].File, errs[i].Path, errs[i].Message = printable.Line(e.File), printable.Line(e.Path), printable.Line(e.Message)
		errs[i].Excerpt.Text = printable.Line(e.Excerpt.Text)
	}
	data, err := json.MarshalIndent(Notice{Hostname: hostname, Errors: errs}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot render %s: %w", paths.Maintenance, err)
	}
	text := notice(printable.Line(hostname), errs)
	return tree.New(
		tree.File{
			Path: paths.Maintenance, Mode: 0o644, Data: append(data, '\n'),
			Readers: []tree.Reader{{Unit: units.Registry, Verb: tree.Reload}},
		},
		// In issue(5), agetty reads a backslash as the start of an escape.
		tree.File{Path: paths.Issue, Mode: 0o644, Data: []byte(strings.ReplaceAll(text, `\`, `\\`))},
		tree.File{Path: paths.MOTD, Mode: 0o644, Data: []byte(text)},
	)
}

func notice(hostname string, errs config.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nRedoubt on %s serves no images: its configuration has mistakes.\n\n",
		cmp.Or(hostname, "this machine"))
	for _, e := range errs {
		b.WriteString(indented(e.Show(config.Colors{})))
	}
	b.WriteString("\nCorrect the user-data and reboot: it is read again at each boot. Or log in, write a\n" +
		"complete " + paths.OperatorFile + ", which then counts alone, and run: sudo redoubt apply\n\n")
	return b.String()
}

// indented puts two spaces before each line.
func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}
