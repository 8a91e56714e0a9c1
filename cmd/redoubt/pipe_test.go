package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOutlivePipe writes to a pipe that nobody reads any more, in a process of its own,
// which must get to its end.
func TestOutlivePipe(t *testing.T) {
	const place = "REDOUBT_TEST_PIPE"
	if end := os.Getenv(place); end != "" {
		outlivePipe()
		for range 3 {
			fmt.Println("warning: a line")
		}
		if err := os.WriteFile(end, nil, 0o600); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	end := filepath.Join(t.TempDir(), "end")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	read.Close()
	defer write.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOutlivePipe$")
	cmd.Env, cmd.Stdout = append(os.Environ(), place+"="+end), write
	if err := cmd.Run(); err != nil {
		t.Errorf("the program: %v", err)
	}
	if _, err := os.Stat(end); err != nil {
		t.Error("the program did not get to its end")
	}
}
