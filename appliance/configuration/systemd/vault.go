package systemd

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	// VaultSocket is where systemd-creds(1) answers, in Varlink.
	VaultSocket = "/run/systemd/io.systemd.Credentials"
	// vaultTimeout is for a call: the chip that keeps the key can be slow.
	vaultTimeout = time.Minute
	maxAnswer    = 4 << 20
)

// Vault seals data with the key of this machine, as systemd-creds(1) has it: of
// its TPM where there is one that the system can use, else of the system's disk.
type Vault struct {
	Socket string
	Name   string // of what is sealed; a sealed copy under another name is refused
}

// Seal returns data sealed, in base64.
func (v Vault) Seal(data []byte) ([]byte, error) {
	var out struct {
		Blob string `json:"blob"`
	}
	if err := v.call("Encrypt", map[string]string{"name": v.Name, "data": base64.StdEncoding.EncodeToString(data)}, &out); err != nil {
		return nil, fmt.Errorf("cannot seal it: %w", err)
	}
	return append([]byte(out.Blob), '\n'), nil
}

// Open returns what was sealed.
func (v Vault) Open(sealed []byte) ([]byte, error) {
	var out struct {
		Data string `json:"data"`
	}
	err := v.call("Decrypt", map[string]string{"name": v.Name, "blob": string(bytes.TrimSpace(sealed))}, &out)
	if err != nil {
		return nil, fmt.Errorf("cannot open what is sealed: %w", err)
	}
	return base64.StdEncoding.DecodeString(out.Data)
}

// call calls a method of io.systemd.Credentials.
func (v Vault) call(method string, parameters any, out any) error {
	request, err := json.Marshal(map[string]any{"method": "io.systemd.Credentials." + method, "parameters": parameters})
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("unix", v.Socket, vaultTimeout)
	if err != nil {
		return fmt.Errorf("systemd-creds.socket does not answer: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(vaultTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(append(request, 0)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(conn, maxAnswer)).ReadBytes(0)
	if err != nil {
		return fmt.Errorf("systemd-creds.socket does not answer: %w", err)
	}
	var reply struct {
		Error      string          `json:"error"`
		Parameters json.RawMessage `json:"parameters"`
	}
	if json.Unmarshal(answer[:len(answer)-1], &reply) != nil { // its error may quote the answer
		return errors.New("systemd-creds.socket answers no JSON")
	}
	if reply.Error != "" {
		return fmt.Errorf("systemd-creds.socket answers %s", reply.Error)
	}
	return json.Unmarshal(reply.Parameters, out)
}
