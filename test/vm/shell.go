package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// shellUnit reads from the second serial port: on each line a number and a script,
// in base64. It answers the number, the script's output, in base64, and its exit
// status.
const shellUnit = `[Unit]
Description=Shell for the tests
DefaultDependencies=no
Conflicts=shutdown.target
After=systemd-remount-fs.service
[Service]
Restart=always
StandardInput=tty-force
StandardOutput=tty
TTYPath=/dev/ttyS1
ExecStart=/bin/sh -c 'stty raw -echo; echo; while read -r id script; do \
echo "$$script" | base64 -d >/run/test-shell.in; \
timeout 300 sh /run/test-shell.in >/run/test-shell.out 2>&1 </dev/null; code=$$?; \
echo "$$id $$(base64 -w 0 </run/test-shell.out) $$code"; done'
`

// shellCredentials are the systemd credentials that add the shell's unit to a
// guest. (systemd.system-credentials(7): systemd.extra-unit, systemd.unit-dropin.)
func shellCredentials() map[string]string {
	return map[string]string{
		"systemd.extra-unit.test-shell.service": shellUnit,
		"systemd.unit-dropin.sysinit.target":    "[Unit]\nWants=test-shell.service\n",
	}
}

// Sh runs a script as root in a guest that was started with Shell, and answers
// what it printed. A status other than 0 is an error, and shows the output too.
func (v *VM) Sh(ctx context.Context, script string) (string, error) {
	c, err := v.dial(shellSock)
	if err != nil {
		return "", fmt.Errorf("cannot reach the guest's shell: %w", err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
	defer stop()
	id := strconv.FormatInt(time.Now().UnixNano(), 10)
	if _, err := fmt.Fprintln(c, id, base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		return "", fmt.Errorf("cannot send to the guest's shell: %w", err)
	}
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("cannot read from the guest's shell: %w", err)
		}
		// What an earlier conversation left behind has another number.
		answer, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), id+" ")
		if !ok {
			continue
		}
		text, code, _ := strings.Cut(answer, " ")
		out, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("cannot read the guest's shell: %w", err)
		}
		if code != "0" {
			return string(out), fmt.Errorf("the guest's shell answers %s to %q: %s", code, script, bytes.TrimSpace(out))
		}
		return string(out), nil
	}
}

// AwaitShell waits until the guest's shell answers.
func (v *VM) AwaitShell(ctx context.Context) error {
	return v.Await(ctx, "an answer of the guest's shell", func() (bool, error) {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, err := v.Sh(try, "true")
		return err == nil, nil
	})
}
