package appliance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// ReplaceCA makes new authorities in place of the machine's own that are damaged,
// with all also of those that are not, and applies the configuration. What they
// replace is kept aside. Clients must fetch the new ones: nothing but a person's word
// does this.
func (m *Machine) ReplaceCA(ctx context.Context, all bool) error {
	replaced, err := m.putAside(ctx, all)
	if err != nil {
		return err
	}
	if replaced == 0 {
		return errors.New("nothing was replaced: no certificate authority of this machine is damaged; " +
			"--all replaces those that are not too, as after a key was stolen")
	}
	return m.Apply(ctx, Options{})
}

func (m *Machine) putAside(ctx context.Context, all bool) (count int, err error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	dir := filepath.Join(m.Root, paths.CA)
	authorities, err := cert.Authorities(dir)
	if err != nil {
		return 0, err
	}
	for _, a := range authorities {
		if a.Problem == nil && !all {
			continue
		}
		if err := cert.PutAside(dir, a.Number, m.Now()); err != nil {
			return count, err
		}
		fmt.Fprintf(m.Out, "kept     %s aside, and its key\n", strings.TrimPrefix(a.File, m.Root))
		count++
	}
	return count, nil
}
