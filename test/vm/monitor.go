package vm

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"
)

// monitor runs one command of QEMU's machine protocol and answers what it
// returned. (QEMU documentation: interop/qmp-spec.)
func (v *VM) monitor(command string) (json.RawMessage, error) {
	c, err := v.dial(monitorSock)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	var greeting any
	if err := in.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("cannot read qemu's greeting: %w", err)
	}
	if _, err := ask(in, out, "qmp_capabilities"); err != nil {
		return nil, err
	}
	answer, err := ask(in, out, command)
	if command == "quit" {
		return nil, nil // QEMU may be gone before it has answered
	}
	return answer, err
}

// ask sends a command and skips the events that come before its answer.
func ask(in *json.Decoder, out *json.Encoder, command string) (json.RawMessage, error) {
	if err := out.Encode(map[string]string{"execute": command}); err != nil {
		return nil, fmt.Errorf("cannot tell qemu to %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := in.Decode(&answer); err != nil {
			return nil, fmt.Errorf("cannot read qemu's answer to %s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("cannot tell qemu to %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil {
			return answer.Return, nil
		}
	}
}

// dial connects to a socket in the machine's directory, by way of a descriptor of
// that directory since the whole path may be too long for a socket's address.
func (m Machine) dial(name string) (net.Conn, error) {
	dir, err := os.Open(m.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return net.DialTimeout("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), 5*time.Second)
}
