package systemd

import (
	"slices"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
)

func TestOrder(t *testing.T) {
	got := order([]tree.Reader{
		{Unit: "b.service", Verb: tree.Restart},
		{Unit: "a.service", Verb: tree.Reload},
		{Unit: "z.socket", Verb: tree.Reload},
		{Unit: "a.service", Verb: tree.Restart},
		{Unit: "b.service", Verb: tree.Reload},
		{Unit: "c.service", Verb: tree.Reload},
	})
	want := []tree.Reader{
		{Unit: "z.socket", Verb: tree.Reload},
		{Unit: "a.service", Verb: tree.Restart},
		{Unit: "b.service", Verb: tree.Restart},
		{Unit: "c.service", Verb: tree.Reload},
	}
	if !slices.Equal(got, want) {
		t.Errorf("order: got %v, want %v", got, want)
	}
}

func TestJobErrorPointsToTheJournal(t *testing.T) {
	for _, tt := range []struct {
		err  *JobError
		want string
	}{
		{&JobError{"restart", "x.service", "failed", "exit-code"}, "cannot restart x.service: failed, exit-code; the reason is in: journalctl -u x.service"},
		{&JobError{"start", "x.service", "dependency", "success"}, "cannot start x.service: dependency; the reason is in: journalctl -u x.service"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
