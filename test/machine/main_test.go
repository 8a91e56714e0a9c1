//go:build machine

package machine_test

import (
	"testing"

	"github.com/redoubt-registry/redoubt/test/machine"
)

func TestMain(m *testing.M) {
	machine.Main()
	m.Run()
}
