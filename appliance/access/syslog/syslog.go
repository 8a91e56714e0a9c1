// Package syslog sends lines to a syslog server over TLS: messages of RFC 5424, framed as
// RFC 5425 has it.
package syslog

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	dialPatience = 10 * time.Second
	sendPatience = 30 * time.Second
	// settle is for how long a connection must live after the last byte of a batch has
	// arrived: syslog has no acknowledgement, and what a server that dies had not read is
	// sent again to the next one.
	settle = time.Second
	// facility is "log audit", and the severities are notice and informational.
	facility      = 13
	notice        = 5
	informational = 6
)

// Client is a connection to a server, made when it is needed. It is for one goroutine.
type Client struct {
	Address  string // host:port
	TLS      *tls.Config
	Hostname string // of the machine, in each message
	AppName  string

	conn   *tls.Conn
	raw    *net.TCPConn
	closed chan error // has something when the server has ended the connection
}

// Send sends lines, each a JSON object with time, action and result, and returns when
// the server has them, as far as that can be known.
func (c *Client) Send(ctx context.Context, lines [][]byte) error {
	err := c.send(ctx, lines)
	if err != nil {
		c.Close()
	}
	return err
}

func (c *Client) send(ctx context.Context, lines [][]byte) error {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return fmt.Errorf("cannot reach the syslog server: %w", files.Cause(err))
		}
	}
	var out []byte
	for _, line := range lines {
		m := c.message(line)
		out = append(strconv.AppendInt(out, int64(len(m)), 10), ' ')
		out = append(out, m...)
	}
	deadline := time.Now().Add(sendPatience)
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.conn.Write(out); err != nil {
		return fmt.Errorf("cannot send to the syslog server: %w", files.Cause(err))
	}
	return c.arrived(ctx, deadline)
}

// dial connects, and watches for the end of the connection: a server of syslog says nothing.
func (c *Client) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	config := c.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(c.Address)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return err
	}
	c.conn, c.raw, c.closed = secure, conn.(*net.TCPConn), make(chan error, 1)
	go func(closed chan<- error) {
		_, err := secure.Read(make([]byte, 1))
		if err == nil {
			err = errors.New("it speaks, which no syslog server does")
		}
		closed <- err
	}(c.closed)
	return nil
}

// arrived waits until the server's machine has everything, and the connection lives on.
func (c *Client) arrived(ctx context.Context, deadline time.Time) error {
	quiet := time.Time{}
	for {
		waiting, err := c.unacknowledged()
		if err != nil {
			return err
		}
		now := time.Now()
		switch {
		case waiting > 0:
			quiet = time.Time{}
		case quiet.IsZero():
			quiet = now
		case now.Sub(quiet) >= settle:
			return nil
		}
		if now.After(deadline.Add(settle)) {
			return errors.New("the syslog server does not read")
		}
		select {
		case err := <-c.closed:
			return fmt.Errorf("the syslog server has ended the connection: %w", files.Cause(err))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle / 10):
		}
	}
}

// unacknowledged is how many bytes the other machine has not acknowledged (tcp(7), SIOCOUTQ).
func (c *Client) unacknowledged() (n int, err error) {
	raw, err := c.raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(err, control)
}

// message is a line as a message of RFC 5424.
func (c *Client) message(line []byte) []byte {
	var head struct{ Time, Action, Result string }
	_ = json.Unmarshal(line, &head) // what is no JSON goes as it is
	severity := informational
	if head.Result != "" && head.Result != "ok" {
		severity = notice
	}
	stamp := "-"
	if t, err := time.Parse(time.RFC3339Nano, head.Time); err == nil {
		stamp = t.UTC().Format("2006-01-02T15:04:05.000000Z") // six digits at most
	}
	return fmt.Appendf(nil, "<%d>1 %s %s %s %d %s - %s", facility*8+severity, stamp, word(c.Hostname, 255), word(c.AppName, 48), os.Getpid(), word(head.Action, 32), line)
}

// word is text as a part of a header: printable ASCII without a space (RFC 5424, 6).
func word(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < '!' || r > '~' {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), most)]
}

// Close ends the connection.
func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
