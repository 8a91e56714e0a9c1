package driver

import (
	"strconv"
	"testing"
)

// Uploads that nobody ends do not fill the memory, and push out none that goes on.
func TestSessionsAreBounded(t *testing.T) {
	s := newSessions()
	busy := s.add("busy")
	for i := range maxSessions {
		s.add(strconv.Itoa(i))
		if s.add("busy") != busy {
			t.Fatal("an upload that goes on was forgotten")
		}
	}
	if n := s.byPath.Len(); n != maxSessions {
		t.Errorf("%d sessions are kept, not %d", n, maxSessions)
	}
	if s.get("0") != nil {
		t.Error("the oldest is still there")
	}
	if was := s.end("busy"); was != busy {
		t.Error("the end gave another session")
	}
	if left := s.get("busy"); left == busy || !left.committed || !left.moved {
		t.Errorf("after its end: %+v", left)
	}
	if s.end("never") != nil {
		t.Error("an upload that never was has ended")
	}
}
