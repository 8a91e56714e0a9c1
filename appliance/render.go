package appliance

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
)

// Render writes into dir, which it makes, what Apply would write for the
// configuration in files on a machine that is new, and lists it on out. It needs
// no root and no systemd. The secrets that a machine makes for itself are new
// ones, for dir alone.
func Render(dir string, files []string, credentials string, out, warnings io.Writer) error {
	resolver := secrets.Resolver{Root: "/", Credentials: credentials}
	made, report := judge(userdata.ReadFiles(files), resolver, secrets.Kept{}, time.Now())
	for _, w := range report.Warnings() {
		fmt.Fprintln(warnings, w)
	}
	if err := report.Err(); err != nil {
		return fmt.Errorf("cannot render:\n%w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the output directory: %w", err)
	}
	if err := disk.Export(dir, made.files); err != nil {
		return err
	}
	for _, f := range made.files {
		if !f.Mode.IsDir() {
			fmt.Fprintf(out, "wrote    %s%s\n", dir, f.Path)
		}
	}
	return nil
}
