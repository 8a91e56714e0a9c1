package appliance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/foreign"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

// maxForeign bounds a file that is imported.
const maxForeign = 1 << 20

// Import prints on out the user-data that stands for the files of another registry, and
// on notes what a person must know of it. Without a valid document it prints none, and
// the error says why. It needs no machine.
func Import(names []string, o foreign.Options, out, notes io.Writer) error {
	var given []foreign.File
	for _, name := range names {
		data, err := readForeign(name)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", name, files.Cause(err))
		}
		given = append(given, foreign.File{Name: name, Data: data})
	}
	o.Open = readForeign
	result, err := foreign.Import(given, o)
	if err != nil {
		return err
	}
	for _, n := range result.Notes {
		fmt.Fprintln(notes, n)
	}
	if err := result.Report.Err(); err != nil {
		return fmt.Errorf("cannot make user-data of it; what is missing or wrong:\n%s", strings.TrimRight(err.Error(), "\n"))
	}
	for _, w := range result.Report.Warnings() {
		fmt.Fprintln(notes, w)
	}
	if _, err := out.Write(result.Document); err != nil {
		return fmt.Errorf("cannot print the user-data: %w", files.Cause(err))
	}
	return nil
}

// readForeign reads a regular file.
func readForeign(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxForeign+1))
	if err == nil && len(data) > maxForeign {
		err = errors.New("it is too large: at most 1 MiB is read")
	}
	return data, err
}
