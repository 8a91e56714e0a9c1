package journal

import (
	"bufio"
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// A journal gets its header once and the lines after it, also when it was restarted;
// without one the lines are not lost, and why is told once.
func TestJournal(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "stdout")
	var other bytes.Buffer
	j := &Journal{Socket: socket, Identifier: "redoubt", Holds: "the access log", Else: &other}
	write := func(line string) {
		t.Helper()
		if n, err := j.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	write("before\n")
	write("still before\n")
	if got := other.String(); strings.Count(got, "cannot write the access log") != 1 || !strings.HasSuffix(got, "\nbefore\nstill before\n") {
		t.Fatalf("without a journal: %q", got)
	}
	other.Reset()
	for range 2 { // started, and restarted
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		write("one\n")
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		write("two\n")
		in := bufio.NewReader(conn)
		for _, want := range []string{"redoubt", "", "6", "0", "0", "0", "0", "one", "two"} {
			if line, err := in.ReadString('\n'); line != want+"\n" {
				t.Fatalf("the journal got %q, %v, want %q", line, err, want)
			}
		}
		conn.Close()
		l.Close()
	}
	if other.Len() != 0 {
		t.Errorf("beside the journal: %q", other.String())
	}
}
