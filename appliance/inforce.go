package appliance

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
)

// inForce is what the machine was last brought to: its cfg, its registry.yml and
// whether it is in maintenance. There is nothing to do for it and nothing to keep.
type inForce struct {
	target
	sealed []byte // the file that cfg was read from
}

// present reads what is in force.
func (m *Machine) present() inForce {
	sealed := m.sealed()
	document, _ := history.LastGood(m.Root, m.Vault) // none is maintenance
	cfg, _, report := config.Parse([]config.Layer{{Name: history.LastGoodPath, Data: document}})
	t := inForce{target: target{cfg: cfg}, sealed: sealed}
	if data, err := os.ReadFile(filepath.Join(m.Root, render.RegistryPath)); err == nil {
		t.files = append(t.files, render.Registry(data))
	}
	_, err := os.Stat(filepath.Join(m.Root, render.MaintenancePath))
	t.maintenance = err == nil || report.Err() != nil
	return t
}

// still says whether the configuration is the one of now. It looks at the file as
// it lies there: to open it takes another process.
func (m *Machine) still(now inForce) bool { return bytes.Equal(m.sealed(), now.sealed) }

func (m *Machine) sealed() []byte {
	data, _ := os.ReadFile(filepath.Join(m.Root, history.LastGoodPath)) // none is nil
	return data
}
