package main

import (
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
)

// What the configuration says counts where the command line does not.
func TestGCAsConfigured(t *testing.T) {
	path := writeFile(t, t.TempDir(), "gc.json", `{"removeUntagged":true,"grace":7200000000000,"trash":3600000000000}`)
	cmd := gcCommand()
	if err := cmd.ParseFlags([]string{"--trash", "5h"}); err != nil {
		t.Fatal(err)
	}
	o := appliance.GCOptions{Trash: 5 * time.Hour}
	asConfigured(cmd, &o, path)
	if !o.Untagged || o.Grace != 2*time.Hour || o.Trash != 5*time.Hour {
		t.Errorf("%+v", o)
	}
	before := o
	if asConfigured(cmd, &o, path+".gone"); o != before {
		t.Errorf("without a configuration: %+v", o)
	}
}
