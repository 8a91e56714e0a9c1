package logs

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
)

// Journal writes lines to a journal of their own: a namespace of systemd-journald(8),
// so that what strangers cause never pushes out what the machine says of itself. Its
// stream is the one of sd_journal_stream_fd(3). Lines that the journal does not take
// go to Else, and the first of them is told there.
type Journal struct {
	// Socket is that of the namespace's streams, /run/systemd/journal.NAME/stdout.
	Socket     string
	Identifier string
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
		fmt.Fprintf(j.Else, "cannot write the access log to a journal of its own: %v; it goes here until systemd-journald@access.service runs\n", err)
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
	if _, err := j.stream.Write(lines); err != nil {
		j.stream.Close()
		j.stream = nil
		return err
	}
	return nil
}
