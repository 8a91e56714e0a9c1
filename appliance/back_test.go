//go:build integration

package appliance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance"
)

// at is a document of the box with another level of the log.
func at(level string) string { return good + "  log: {level: " + level + "}\n" }

// serves tells the level of the log that is in force.
func (b *box) serves() string {
	b.Helper()
	for _, level := range []string{"debug", "warn", "error"} {
		if strings.Contains(b.get("run/redoubt/registry.yml"), "level: "+level) {
			return level
		}
	}
	return "info"
}

func (b *box) wantServes(want string) {
	b.Helper()
	if got := b.serves(); got != want {
		b.Errorf("serves with %s, want %s\n%s", got, want, &b.out)
	}
}

func (b *box) back(o appliance.RollbackOptions) error {
	b.out.Reset()
	return b.machine().Rollback(b.Context(), o)
}

func (b *box) boot() {
	b.Helper()
	b.reboot()
	b.out.Reset()
	if err := b.machine().Apply(b.Context(), appliance.Options{Boot: true}); err != nil {
		b.Fatalf("boot: %v\n%s", err, &b.out)
	}
}

func TestRollback(t *testing.T) {
	b := newBox(t)
	if err := b.back(appliance.RollbackOptions{}); err == nil || !strings.Contains(err.Error(), "nothing to go back to") {
		t.Errorf("before anything served: %v", err)
	}
	for _, level := range []string{"info", "warn", "debug"} {
		b.userData(at(level))
		b.mustApply()
	}
	if err := b.back(appliance.RollbackOptions{Generation: 9}); err == nil || !strings.Contains(err.Error(), "redoubt history") {
		t.Errorf("to one that is not there: %v", err)
	}
	if err := b.back(appliance.RollbackOptions{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	b.wantServes("debug")
	for _, want := range []string{"warn", "info"} { // twice back is not forth again
		if err := b.back(appliance.RollbackOptions{}); err != nil {
			t.Fatalf("%v\n%s", err, &b.out)
		}
		b.wantServes(want)
	}
	if err := b.back(appliance.RollbackOptions{}); err == nil || !strings.Contains(err.Error(), "nothing to go back to") {
		t.Errorf("before the first: %v", err)
	}
	b.boot() // the user-data still asks for debug
	b.wantServes("info")
	b.wantPending("generation 1 serves since the rollback")
	b.userData(at("error"))
	b.boot()
	b.wantServes("error")
	if err := b.back(appliance.RollbackOptions{Generation: 2}); err != nil {
		t.Fatal(err)
	}
	b.wantServes("warn")
	b.mustApply() // by hand
	b.wantServes("error")
	b.boot()
	b.wantServes("error")
	if err := b.back(appliance.RollbackOptions{}); err != nil { // to what served between, and not to the same
		t.Fatal(err)
	}
	b.wantServes("warn")
}

// wantPending wants the status to say something that is pending.
func (b *box) wantPending(want string) {
	b.Helper()
	r, err := b.machine().Status(b.Context(), "test")
	if err != nil || !strings.Contains(r.Configuration.Pending, want) {
		b.Errorf("status: %v, pending %q, want %q", err, r.Configuration.Pending, want)
	}
}

// A generation that cannot serve any more leaves what serves.
func TestRollbackThatDoesNotServe(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.userData(at("debug"))
	b.mustApply()
	b.registry.sick = "level: info"
	err := b.back(appliance.RollbackOptions{})
	b.wantError(err, "fell back to the previous configuration")
	b.wantServes("debug")
	b.registry.sick = ""
	b.boot()
	b.wantServes("debug")
}

// A machine whose cloud says nothing at a boot stays with what it went back to.
func TestRollbackWithoutMetadata(t *testing.T) {
	b := newBox(t)
	b.userData(good)
	b.mustApply()
	b.userData(at("debug"))
	b.mustApply()
	if err := b.back(appliance.RollbackOptions{}); err != nil {
		t.Fatal(err)
	}
	past, err := b.machine().History()
	if err != nil || len(past) != 3 || past[0].Back != 1 || !slices.Equal(past[0].Sources, past[2].Sources) {
		t.Fatalf("history: %+v %v", past, err)
	}
}

func TestHistory(t *testing.T) {
	b := newBox(t)
	for _, document := range []string{good, at("debug"), strings.Replace(at("debug"), "hunter2", "hunter9", 1)} {
		b.userData(document)
		b.mustApply()
	}
	past, err := b.machine().History()
	if err != nil || len(past) != 3 {
		t.Fatalf("%+v %v", past, err)
	}
	if c := past[0].Changes; !past[0].Now || len(c) != 1 || c[0].Path != "auth.users[alice].password" || c[0].Before != c[0].After {
		t.Errorf("the newest: %+v", past[0])
	}
	if c := past[1].Changes; len(c) != 1 || c[0].Path != "log.level" || c[0].Before != "info" || c[0].After != "debug" {
		t.Errorf("the one before: %+v", past[1])
	}
	if past[2].Changes != nil || past[2].Number != 1 {
		t.Errorf("the first: %+v", past[2])
	}
}

func TestConfirm(t *testing.T) {
	b := newBox(t)
	try := func() error {
		b.out.Reset()
		b.registry.calls = nil
		return b.machine().Apply(b.Context(), appliance.Options{Confirm: time.Minute})
	}
	b.userData(good)
	if err := try(); err == nil || !strings.Contains(err.Error(), "without --confirm") {
		t.Errorf("the first of all: %v", err)
	}
	b.mustApply()
	if err := try(); err != nil || strings.Contains(b.out.String(), "redoubt confirm") {
		t.Errorf("the same again: %v\n%s", err, &b.out)
	}
	if err := b.machine().Confirm(t.Context()); err == nil || !strings.Contains(err.Error(), "no configuration waits") {
		t.Errorf("nothing to confirm: %v", err)
	}

	b.userData(at("debug"))
	if err := try(); err != nil {
		t.Fatalf("%v\n%s", err, &b.out)
	}
	if calls := strings.Join(b.registry.calls, ", "); !strings.Contains(calls, "redoubt-confirm.timer") {
		t.Errorf("nothing ends the trial: %s", calls)
	}
	if got := b.get("run/systemd/system/redoubt-confirm.timer.d/50-redoubt.conf"); !strings.Contains(got, "OnActiveSec=60000ms") {
		t.Errorf("the timer: %s", got)
	}
	b.wantPending("generation 1 comes back at")
	b.wantError(b.apply(), "waits to be confirmed", "redoubt confirm", "redoubt rollback")
	if err := b.machine().Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.back(appliance.RollbackOptions{Unconfirmed: true}); err != nil { // the timer, too late
		t.Fatal(err)
	}
	b.wantServes("debug")
	b.mustApply()

	for name, end := range map[string]func() error{
		"the timer": func() error { return b.back(appliance.RollbackOptions{Unconfirmed: true}) },
		"a person":  func() error { return b.back(appliance.RollbackOptions{}) },
		"a boot":    func() error { b.boot(); return nil },
	} {
		b.userData(at("warn"))
		b.mustApply()
		b.userData(at("error"))
		if err := try(); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.wantServes("warn")
		b.boot() // the user-data still asks for it
		b.wantServes("warn")
		if err := b.machine().Confirm(t.Context()); err == nil {
			t.Errorf("%s left the trial", name)
		}
	}

	b.userData("redoubt: {hostname: 17}\n")
	if err := try(); err == nil {
		t.Error("a document that cannot be used is tried")
	}
	b.wantServes("warn")
	if err := b.machine().Confirm(t.Context()); err == nil {
		t.Error("a refused document waits to be confirmed")
	}
}
