package health_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/health"
)

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// seen is a look that finds g; sure is added by an exclamation mark.
func seen(g string, at time.Time) health.Look {
	grade, sure := strings.CutSuffix(g, "!")
	operations := []health.Operation{
		{Name: "get", Without: health.Down}, {Name: "put", Without: health.Degraded},
	}
	switch health.Grade(grade) {
	case health.Degraded:
		operations[1].Error, operations[1].Reason, operations[1].Sure = "no space", "full", sure
	case health.Down:
		for i := range operations {
			operations[i].Error, operations[i].Reason, operations[i].Sure = "refused", "does not answer", sure
		}
	}
	return health.Look{Storage: "store", At: at, Operations: operations}
}

func TestGradesChangeSlowly(t *testing.T) {
	for name, test := range map[string]struct {
		threshold   int
		looks, want string // of equal length
		told        string // x where people are told
	}{
		"well":                       {3, "ok ok ok", "ok ok ok", "- - -"},
		"a blip is nothing":          {3, "down down ok down down", "ok ok ok ok ok", "- - - - -"},
		"writes fail":                {3, "degraded degraded degraded degraded", "ok ok degraded degraded", "- - x -"},
		"mild ones count for both":   {3, "degraded down down", "ok ok degraded", "- - x"},
		"then worse":                 {3, "degraded down down down", "ok ok degraded down", "- - x x"},
		"down at once":               {3, "down down down", "ok ok down", "- - x"},
		"two good ones fix it":       {3, "down down down ok ok", "ok ok down down ok", "- - x - -"},
		"one good one does not":      {3, "down down down ok down ok down", "ok ok down down down down down", "- - x - - - -"},
		"half fixed":                 {3, "down down down degraded ok", "ok ok down down degraded", "- - x - -"},
		"the mildest of three":       {3, "down degraded down", "ok ok degraded", "- - x"},
		"threshold of one":           {1, "down ok degraded ok", "down ok degraded ok", "x - x -"},
		"threshold of two":           {2, "down down ok ok", "ok down down ok", "- x - -"},
		"sure needs no second look":  {3, "ok degraded! ok ok", "ok degraded degraded ok", "- x - -"},
		"sure and worse":             {3, "ok degraded! down!", "ok degraded down", "- x x"},
		"sure is no cause to fix":    {3, "ok down! degraded! degraded!", "ok down down degraded", "- x - -"},
		"sure of a new one":          {3, "down! down! down! ok ok", "ok ok down down ok", "- - x - -"},
		"told again when it is back": {1, "down ok down", "down ok down", "x - x"},
	} {
		t.Run(name, func(t *testing.T) {
			var state health.State
			at := began
			var got, told []string
			for look := range strings.FieldsSeq(test.looks) {
				at = at.Add(10 * time.Second)
				next, tell := state.Next(seen(look, at), 10*time.Second, test.threshold)
				if next.Grade != state.Grade && state.Grade != "" && !next.Since.Equal(at) {
					t.Errorf("%s since %v, not %v", next.Grade, next.Since, at)
				}
				state = next
				got = append(got, string(state.Grade))
				told = append(told, map[bool]string{true: "x", false: "-"}[tell])
			}
			if g := strings.Join(got, " "); g != test.want {
				t.Errorf("got %s, want %s", g, test.want)
			}
			if g := strings.Join(told, " "); g != test.told {
				t.Errorf("told %s, want %s", g, test.told)
			}
		})
	}
}

func TestStateSaysWhy(t *testing.T) {
	var state health.State
	for i := range 4 {
		state, _ = state.Next(seen("degraded", began.Add(time.Duration(i)*time.Second)), time.Second, 3)
	}
	if state.Failures != 4 || state.Error != "no space" || state.Reason != "full" || len(state.Looks) != 3 {
		t.Errorf("got %+v", state)
	}
	// A good look does not take the reason away before the grade is better.
	state, _ = state.Next(seen("ok", began.Add(5*time.Second)), time.Second, 3)
	if state.Grade != health.Degraded || state.Reason != "full" || state.Error != "" || state.Failures != 0 {
		t.Errorf("got %+v", state)
	}
	state, _ = state.Next(seen("ok", began.Add(6*time.Second)), time.Second, 3)
	if state.Grade != health.OK || state.Reason != "" {
		t.Errorf("got %+v", state)
	}
}

func TestPeopleAreRemindedEachDay(t *testing.T) {
	state, _ := health.State{}.Next(seen("ok", began), time.Hour, 3)
	told := 0
	for i := range 49 {
		var tell bool
		state, tell = state.Next(seen("down!", began.Add(time.Duration(i)*time.Hour)), time.Hour, 3)
		if tell {
			told++
		}
	}
	if told != 3 {
		t.Errorf("told %d times in two days and an hour, want 3", told)
	}
}

func TestAnotherStorageOrTime(t *testing.T) {
	bad := func() health.State {
		s, _ := health.State{}.Next(seen("ok", began), time.Second, 3)
		s, _ = s.Next(seen("down!", began), time.Second, 3)
		return s
	}
	other := seen("down", began.Add(time.Second))
	other.Storage = "another"
	if s, _ := bad().Next(other, time.Second, 3); s.Grade != health.OK || len(s.Looks) != 1 {
		t.Errorf("another storage begins as %+v", s)
	}
	// After a long sleep one good look more is needed than before it.
	late := began.Add(time.Hour)
	s, _ := bad().Next(seen("ok", late), time.Second, 3)
	if s.Grade != health.Down || len(s.Looks) != 1 {
		t.Errorf("after an hour: %+v", s)
	}
}

func TestStale(t *testing.T) {
	s := health.State{Checked: began, Interval: 10 * time.Second}
	for after, want := range map[time.Duration]bool{
		0: false, 110 * time.Second: false, 111 * time.Second: true, -30 * time.Second: false, -2 * time.Minute: true,
	} {
		if s.Stale(began.Add(after)) != want {
			t.Errorf("%v after the look: stale is %t", after, !want)
		}
	}
}

func TestReadState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storage.json")
	if _, err := health.ReadState(path); err == nil {
		t.Error("a missing file was read")
	}
	for _, text := range []string{"", "{", `{"grade":"fine"}`, `{}`, "\x00\x00"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := health.ReadState(path); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
}
