package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// memory is a sink that waits where it is told to.
type memory struct {
	mu   sync.Mutex
	all  bytes.Buffer
	hold chan struct{}
}

func (m *memory) Write(lines []byte) error {
	if m.hold != nil {
		<-m.hold
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all.Write(lines)
	return nil
}

func (m *memory) events(t *testing.T) []Event {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var events []Event
	for line := range strings.Lines(m.all.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		events = append(events, e)
	}
	return events
}

func TestEventsComeInOrderAndKeepWaits(t *testing.T) {
	t.Parallel()
	var sink memory
	l := New(func() time.Time { return noon }, &sink)
	for i := range 1000 {
		l.Write(Event{Action: Pull, Result: OK, Status: i})
	}
	l.Keep(Event{Action: Push, Result: OK, Status: 1000})
	events := sink.events(t)
	if len(events) != 1001 {
		t.Fatalf("%d events after Keep", len(events))
	}
	ids := map[string]bool{}
	for i, e := range events {
		if e.Status != i || e.ID == "" || !e.Time.Equal(noon) {
			t.Fatalf("event %d is %+v", i, e)
		}
		ids[e.ID] = true
	}
	if len(ids) != 1001 {
		t.Errorf("%d names of 1001 events", len(ids))
	}
	l.Close()
}

// A sink that hangs makes nobody wait; what is lost is told in the log itself.
func TestASinkThatHangs(t *testing.T) {
	t.Parallel()
	sink := memory{hold: make(chan struct{})}
	l := New(time.Now, &sink)
	const more = 500
	for range queued + batched + more {
		l.Write(Event{Action: Pull, Result: OK})
	}
	_, lost := l.Stats()
	if lost < more || lost > more+batched {
		t.Errorf("%d events are lost", lost)
	}
	close(sink.hold)
	l.Close()
	told, kept := 0, 0
	for _, e := range sink.events(t) {
		if e.Action == Lost {
			told += e.Count
			continue
		}
		kept++
	}
	if uint64(told) != lost || kept+told != queued+batched+more {
		t.Errorf("%d are written and %d told as lost, of %d", kept, told, queued+batched+more)
	}
}

// What strangers send makes one line, whatever is in it.
func TestLinesAreSafe(t *testing.T) {
	t.Parallel()
	bad := "a\nb\x1b[2J\u202e\"}{<script>" + strings.Repeat("x", 5000)
	line := Event{Action: Login, Result: Denied, User: bad, Address: bad, Proxy: bad, Repository: bad, Tag: bad, Digest: bad,
		From: bad, Method: bad, Agent: bad, Detail: bad}.fill(noon).line()
	if bytes.Count(line, []byte("\n")) != 1 || bytes.Contains(line, []byte("\x1b")) || bytes.Contains(line, []byte("\u202e")) || len(line) > 4000 {
		t.Errorf("%d bytes: %s", len(line), line)
	}
	if !bytes.Contains(line, []byte(`a?b?[2J?\"}{<script>`)) {
		t.Errorf("%s", line)
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		t.Error(err)
	}
}

// A stranger who tries without end makes two lines in a minute; very many of them few more.
func TestRefusedLoginsAreCounted(t *testing.T) {
	t.Parallel()
	var sink memory
	l := New(time.Now, &sink)
	l.failures.pause = time.Hour // its end comes with Close
	refused := func(address, user string) {
		l.Refused(Event{Action: Login, Result: Denied, Address: address, User: user})
	}
	for range 10_000 {
		refused("192.0.2.1", "alice")
	}
	for i := range 10_000 {
		refused(fmt.Sprintf("2001:db8::%x", i), "") // of one client
	}
	refused("198.51.100.7", "")
	l.Close()
	events := sink.events(t)
	if len(events) != 5 {
		t.Fatalf("%d events: %+v", len(events), events)
	}
	counted := map[string]int{}
	for _, e := range events {
		counted[e.Address] += max(e.Count, 1)
	}
	for address, want := range map[string]int{"192.0.2.1": 10_000, "2001:db8::": 1, "2001:db8::/64": 9999, "198.51.100.7": 1} {
		if got := counted[address]; got != want && address != "2001:db8::" {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}

	var many memory
	l = New(time.Now, &many)
	l.failures.pause = time.Hour
	all := 0
	for i := range 5000 {
		for range 2 {
			l.Refused(Event{Action: Login, Result: Denied, Address: fmt.Sprintf("10.1.%d.%d", i>>8, i&255)})
			all++
		}
	}
	l.Close()
	events, told := many.events(t), 0
	for _, e := range events {
		told += max(e.Count, 1)
	}
	if len(events) > 2*failuresAddresses+1 || told != all {
		t.Errorf("%d lines tell of %d of %d", len(events), told, all)
	}
}

// An event of another process is in the journal, or where it is told, and in the inbox of
// the registry if there is one.
func TestNote(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	var out bytes.Buffer
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, paths.AuditJournal)), 0o755); err != nil {
		t.Fatal(err)
	}
	e := Event{Action: GC, Result: OK, User: "root", Detail: "3 blobs"}
	if err := Note(root, &out, e); err != nil || !strings.Contains(out.String(), `"action":"gc","result":"ok","user":"root","proof":"local","detail":"3 blobs"`) {
		t.Errorf("%v: %s", err, &out)
	}
	inbox := filepath.Join(root, paths.AuditInbox)
	if err := os.MkdirAll(inbox, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Note(root, &out, e); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(inbox, "*"+inboxSuffix))
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}
