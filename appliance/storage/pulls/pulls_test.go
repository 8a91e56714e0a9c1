package pulls

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What several processes record on several days is read as one, before and after it was
// put together, and the latest pull counts.
func TestRecordersMerge(t *testing.T) {
	t.Parallel()
	d := filesystem.New(filesystem.DriverParameters{RootDirectory: t.TempDir(), MaxThreads: 100})
	begin := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	now := begin
	clock := func() time.Time { return now }
	one, two := &Recorder{Every: time.Hour, Now: clock}, &Recorder{Every: time.Hour, Now: clock}
	one.Use(d)
	two.Use(d)
	for day := range 5 {
		now = begin.Add(time.Duration(day) * 24 * time.Hour)
		one.Note("a:latest", fmt.Sprint("a:", day))
		if day < 3 {
			two.Note("b:latest")
		}
		check(t, one.Flush())
		check(t, two.Flush())
	}
	look := func() {
		t.Helper()
		k, err := Read(t.Context(), d, now)
		check(t, err)
		if !k.Since.Equal(begin) {
			t.Errorf("pulls are known since %v", k.Since)
		}
		for name, day := range map[string]int{"a:latest": 4, "a:0": 0, "a:3": 3, "b:latest": 2} {
			if want := begin.Add(time.Duration(day) * 24 * time.Hour); !k.Last(name).Equal(want) {
				t.Errorf("%s: %v", name, k.Last(name))
			}
		}
		if !k.Last("c").IsZero() {
			t.Error("c was pulled")
		}
	}
	look()
	check(t, Compact(t.Context(), d, now))
	look()
	if days, err := d.List(t.Context(), Root); err != nil || len(days) != 5 { // since, past, and three days
		t.Errorf("%v %v", days, err)
	}
	check(t, Compact(t.Context(), d, now.Add(100*24*time.Hour)))
	look()
}

// Thousands of pulls are one write.
func TestOneWriteForAll(t *testing.T) {
	t.Parallel()
	d := inmemory.New()
	r := &Recorder{Every: 10 * time.Millisecond, Now: time.Now}
	r.Use(d)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 500 {
				r.Note(fmt.Sprintf("r%d:%d", i, n))
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		k, err := Read(t.Context(), d, time.Now())
		if err == nil && !k.Last("r7:499").IsZero() && !k.Last("r0:0").IsZero() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is never written: %v", err)
		}
	}
	if days, _ := d.List(t.Context(), Root); len(days) > 3 { // since, and two days at midnight
		t.Errorf("%v", days)
	}
}
