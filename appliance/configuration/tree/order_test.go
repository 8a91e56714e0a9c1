package tree

import (
	"slices"
	"testing"
)

func TestOrder(t *testing.T) {
	got := Order([]Reader{
		{Unit: "b.service", Verb: Restart},
		{Unit: "a.service", Verb: Reload},
		{Unit: "z.socket", Verb: Reload},
		{Unit: "a.service", Verb: Restart},
		{Unit: "b.service", Verb: Start},
		{Unit: "z.service", Verb: Reload},
		{Unit: "d.service", Verb: Start},
		{Unit: "d.service", Verb: Reload},
		{Unit: "c.service", Verb: Start},
	})
	want := []Reader{
		{Unit: "z.socket", Verb: Reload},
		{Unit: "a.service", Verb: Restart},
		{Unit: "b.service", Verb: Restart},
		{Unit: "c.service", Verb: Start},
		{Unit: "d.service", Verb: Reload},
		{Unit: "z.service", Verb: Reload},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A restart and a start of one unit are a restart, in whatever order they come: a
// start alone leaves a running unit with what it has read before.
func TestOrderOfRestartAndStart(t *testing.T) {
	both := []Reader{{Unit: "a.service", Verb: Restart}, {Unit: "a.service", Verb: Start}}
	for range 2 {
		if got := Order(both); len(got) != 1 || got[0].Verb != Restart {
			t.Errorf("%v gives %v", both, got)
		}
		slices.Reverse(both)
	}
}

func TestOrderRestartsTheServiceOfASocket(t *testing.T) {
	got := Order([]Reader{{Unit: "a.service", Verb: Reload}, {Unit: "a.socket", Verb: Restart}, {Unit: "b.socket", Verb: Restart}})
	want := []Reader{{Unit: "a.socket", Verb: Restart}, {Unit: "b.socket", Verb: Restart}, {Unit: "a.service", Verb: Restart}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
