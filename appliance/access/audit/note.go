package audit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/journal"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Identifier is what journalctl -t finds the lines by.
const Identifier = "redoubt-audit"

// Journal is the sink that every machine has: a journal of its own, so that nothing else
// pushes the events out, nor they what the machine says of itself.
func Journal(socket string, other io.Writer) Sink {
	return journalSink{&journal.Journal{Socket: socket, Identifier: Identifier, Holds: "the audit log", Else: other}}
}

type journalSink struct{ *journal.Journal }

func (j journalSink) Write(lines []byte) error {
	_, err := j.Journal.Write(lines)
	return err
}

// Lines is a sink that is a writer, such as a terminal where there is no journal.
func Lines(w io.Writer) Sink { return lines{w} }

type lines struct{ to io.Writer }

func (l lines) Write(data []byte) error {
	_, err := l.to.Write(data)
	return err
}

// Note writes one event of a process that is not the registry, such as a verb that a
// person runs: to the journal, and to where the registry takes it to the other sinks.
// root is that of the machine. Where its journal does not take the line, other has it. An error
// means that the event may be missing in a file or at a syslog server.
func Note(root string, other io.Writer, e Event) error {
	e = e.fill(time.Now())
	if e.Proof == "" {
		e.Proof = Local
	}
	line := e.line()
	socket := filepath.Join(root, paths.AuditJournal)
	if _, err := os.Stat(filepath.Dir(socket)); err == nil { // else this is no machine of ours
		_ = Journal(socket, other).Write(line)
	}
	inbox := filepath.Join(root, paths.AuditInbox)
	if _, err := os.Stat(inbox); err != nil {
		return nil // no registry has run: nothing takes events elsewhere
	}
	// The directory gives its group to the file, so that the registry can read it.
	if err := files.Write(filepath.Join(inbox, e.ID+inboxSuffix), line, 0o640, -1); err != nil {
		return fmt.Errorf("cannot hand an event to the registry, for audit.file and audit.syslog: %w", err)
	}
	return nil
}

const inboxSuffix = ".json"
