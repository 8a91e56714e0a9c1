// Package journal writes lines to systemd-journald(8), over the stream that a service
// has of it.
package journal

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// patience is for how long a line waits for a journal that does not read.
const patience = 2 * time.Second

// Journal writes lines to a journal of their own: a namespace of systemd-journald(8),
// so that what strangers cause never pushes out what the machine says of itself. Its
// stream is the one of sd_journal_stream_fd(3). Lines that the journal does not take
// go to Else, and the first of them is told there.
type Journal struct {
	// Socket is that of the namespace's streams, /run/systemd/journal.NAME/stdout.
	Socket     string
	Identifier string // what journalctl -t finds the lines by
	Holds      string // what is written, for messages, such as "the access log"
	Else       io.Writer

	mu     sync.Mutex
	stream net.Conn
	failed bool
}

// Write writes whole lines. It fails only where Else does.
func (j *Journal) Write(lines []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.send(lines)
	if err != nil {
		err = j.send(lines) // the journal was restarted: it takes a new stream
	}
	if err == nil {
		j.failed = false
		return len(lines), nil
	}
	if !j.failed {
		j.failed = true
		fmt.Fprintf(j.Else, "cannot write %s to a journal of its own: %v; it goes here until systemd-journald has it again\n", j.Holds, err)
	}
	return j.Else.Write(lines)
}

// send writes to the stream, after opening it where there is none.
func (j *Journal) send(lines []byte) error {
	if j.stream == nil {
		conn, err := net.Dial("unix", j.Socket)
		if err != nil {
			return err
		}
		// Who speaks, no unit but the one of the process, the priority (info), no
		// prefixes of levels, and forwarding to nothing.
		var header bytes.Buffer
		fmt.Fprintf(&header, "%s\n\n6\n0\n0\n0\n0\n", j.Identifier)
		if _, err := conn.Write(header.Bytes()); err != nil {
			conn.Close()
			return err
		}
		j.stream = conn
	}
	_ = j.stream.SetWriteDeadline(time.Now().Add(patience)) // a unix socket has one
	if _, err := j.stream.Write(lines); err != nil {
		j.stream.Close()
		j.stream = nil
		return err
	}
	return nil
}
