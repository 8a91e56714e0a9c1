// Package spool keeps lines on a disk until they have been delivered elsewhere: in order,
// at least once, over the death of the process, and no more than a bound.
package spool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	// segmentSize is about how large a file of the spool gets.
	segmentSize = 1 << 20
	suffix      = ".spool"
	cursorName  = "cursor"
	// syncPause bounds what a power cut can lose: a process that is killed loses nothing.
	syncPause = time.Second
)

// ErrFull says that the spool has no room left.
var ErrFull = errors.New("the spool is full")

// position is that of a line.
type position struct {
	Segment string `json:"segment"` // name of the file
	Offset  int64  `json:"offset"`
}

// Spool is a queue of lines in a directory. One process uses it at a time: one goroutine
// or more append, one reads.
type Spool struct {
	dir   string
	limit int64

	mu      sync.Mutex
	current *os.File // nil: the next append begins a segment
	name    string
	size    int64 // of current
	total   int64 // of all segments
	synced  time.Time
	number  int64
	more    chan struct{} // has something after an append
	at      position      // what was delivered ends here
}

// Open opens the spool in dir, which is made where it is missing, with room for limit bytes.
func Open(dir string, limit int64) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("cannot make the spool: %w", err)
	}
	s := &Spool{dir: dir, limit: limit, more: make(chan struct{}, 1)}
	if data, err := os.ReadFile(filepath.Join(dir, cursorName)); err == nil {
		_ = json.Unmarshal(data, &s.at) // else all is delivered again
		_, _ = fmt.Sscanf(s.at.Segment, "%d", &s.number)
	}
	names, err := s.segments()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("cannot read the spool: %w", err)
		}
		s.total += info.Size()
		var number int64
		_, _ = fmt.Sscanf(name, "%d", &number)
		s.number = max(s.number, number)
	}
	s.more <- struct{}{}
	return s, nil
}

// Resize sets how many bytes there is room for.
func (s *Spool) Resize(limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
}

// segments are the names of the files, in the order of their lines.
func (s *Spool) segments() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the spool: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Append adds whole lines. It adds all or none; ErrFull says that there is no room.
func (s *Spool) Append(lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total+int64(len(lines)) > s.limit {
		return ErrFull
	}
	if s.current == nil || s.size >= segmentSize {
		if err := s.begin(); err != nil {
			return err
		}
	}
	n, err := s.current.Write(lines)
	if err != nil {
		if n > 0 { // no line may be half there
			_ = s.current.Truncate(s.size)
		}
		s.end()
		return fmt.Errorf("cannot write to the spool: %w", files.Cause(err))
	}
	s.size += int64(n)
	s.total += int64(n)
	if now := time.Now(); now.Sub(s.synced) >= syncPause {
		s.synced = now
		go s.current.Sync() //nolint:errcheck // the next one tells
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}

// begin starts a segment.
func (s *Spool) begin() error {
	s.end()
	s.number++
	s.name = fmt.Sprintf("%016d%s", s.number, suffix)
	f, err := os.OpenFile(filepath.Join(s.dir, s.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("cannot write to the spool: %w", files.Cause(err))
	}
	s.current, s.size = f, 0
	return nil
}

func (s *Spool) end() {
	if s.current != nil {
		_ = s.current.Sync()
		_ = s.current.Close()
		s.current = nil
	}
}

// Waiting is how many bytes have not been delivered, or not been cleared away yet.
func (s *Spool) Waiting() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.total-s.delivered(), 0)
}

// delivered is how much of the first segment is delivered.
func (s *Spool) delivered() int64 { return s.at.Offset }

// read returns up to max lines after what was delivered, and where they end. There are
// none where all is delivered.
func (s *Spool) read(most int) (lines [][]byte, end position, err error) {
	names, err := s.segments()
	if err != nil {
		return nil, s.at, err
	}
	end = s.at
	for _, name := range names {
		if name < s.at.Segment {
			continue
		}
		from := int64(0)
		if name == s.at.Segment {
			from = s.at.Offset
		}
		found, offset, err := readLines(filepath.Join(s.dir, name), from, most-len(lines))
		if err != nil {
			return nil, s.at, err
		}
		lines = append(lines, found...)
		if len(found) > 0 || from == offset {
			end = position{name, offset}
		}
		if len(lines) >= most {
			break
		}
	}
	return lines, end, nil
}

// readLines reads whole lines. What a killed process left half is none.
func readLines(path string, from int64, most int) (lines [][]byte, end int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, from, fmt.Errorf("cannot read the spool: %w", files.Cause(err))
	}
	defer f.Close()
	in := bufio.NewReaderSize(io.NewSectionReader(f, from, 1<<62), 64<<10)
	end = from
	for len(lines) < most {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return lines, end, nil
		}
		if err != nil {
			return nil, from, fmt.Errorf("cannot read the spool: %w", files.Cause(err))
		}
		end += int64(len(line))
		lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
	}
	return lines, end, nil
}

// commit notes that what stands before end is delivered, and clears segments away.
func (s *Spool) commit(end position) error {
	data, err := json.Marshal(end)
	if err == nil {
		err = files.Write(filepath.Join(s.dir, cursorName), data, 0o640, -1)
	}
	if err != nil {
		return fmt.Errorf("cannot note what was delivered: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = end
	if s.current != nil && s.name == end.Segment && s.size == end.Offset { // all is delivered
		s.end()
	}
	names, err := s.segments()
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("cannot clear the spool: %w", files.Cause(err))
		}
		active := s.current != nil && name == s.name
		if active || name > end.Segment || name == end.Segment && info.Size() > end.Offset {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("cannot clear the spool: %w", files.Cause(err))
		}
		s.total -= info.Size()
		if name == end.Segment {
			s.at.Offset = 0 // of a segment that is gone
		}
	}
	return nil
}

// Close syncs what was appended.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}
