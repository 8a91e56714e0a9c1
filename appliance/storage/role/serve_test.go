//go:build integration

package role_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"github.com/redoubt-registry/redoubt/appliance/storage/role"
	"github.com/redoubt-registry/redoubt/test/metadata"
)

// helper is a running server.
type helper struct {
	t             *testing.T
	service       *metadata.Service
	socket, grant string
	client        *http.Client
	end           context.CancelFunc
	ended         chan error
	logMu         sync.Mutex
	log           bytes.Buffer
}

func (h *helper) Write(p []byte) (int, error) {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.Write(p)
}

func (h *helper) logged() string {
	h.logMu.Lock()
	defer h.logMu.Unlock()
	return h.log.String()
}

// serve starts a helper that lets the user nobody in, if it is granted.
func serve(t *testing.T, idle time.Duration) *helper {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test asks as several users: run it as root")
	}
	service, server := start(t)
	dir, err := os.MkdirTemp("", "redoubt-") // a path for a socket, which others can enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := &helper{t: t, service: service, socket: filepath.Join(dir, "socket"), grant: filepath.Join(dir, "grant"), ended: make(chan error, 1)}
	l, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(h.socket, 0o666); err != nil { // the server's own check is what is tested
		t.Fatal(err)
	}
	h.allow(`{"role": true}`)
	ctx, end := context.WithCancel(context.Background())
	h.end = end
	o := role.Options{Metadata: server.URL, User: "nobody", Grant: h.grant, Idle: idle, Listener: l}
	go func() { h.ended <- role.Serve(ctx, o, log.New(h, "", 0)) }()
	t.Cleanup(end)
	h.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.socket)
	}}}
	t.Cleanup(h.client.CloseIdleConnections)
	return h
}

func (h *helper) allow(text string) {
	h.t.Helper()
	if err := os.WriteFile(h.grant, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// ask is a GET as root.
func (h *helper) ask(path string) (int, string) {
	h.t.Helper()
	w, err := h.client.Get("http://localhost" + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return w.StatusCode, string(body)
}

// as asks as another user, with a client that is not ours.
func (h *helper) as(uid uint32) string {
	h.t.Helper()
	cmd := exec.Command("curl", "-sS", "-w", " %{http_code}", "--unix-socket", h.socket, "http://localhost"+role.Path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("curl: %v\n%s", err, out)
	}
	return string(out)
}

const nobody = 65534

func TestServe(t *testing.T) {
	h := serve(t, time.Hour)
	t.Run("root", func(t *testing.T) {
		code, body := h.ask(role.Path)
		var got role.Credentials
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || got.AccessKeyID != accessKey || got.Token != token {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("the SDK reads it", func(t *testing.T) {
		p := endpointcreds.New("http://localhost"+role.Path, func(o *endpointcreds.Options) { o.HTTPClient = h.client })
		got, err := p.Retrieve(t.Context())
		if err != nil || got.AccessKeyID != accessKey || got.SecretAccessKey != secretKey || got.SessionToken != token || !got.CanExpire {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("the user", func(t *testing.T) {
		if out := h.as(nobody); !strings.HasSuffix(out, " 200") || !strings.Contains(out, accessKey) {
			t.Errorf("got %s", out)
		}
	})
	t.Run("another user", func(t *testing.T) {
		out := h.as(1000)
		if !strings.HasSuffix(out, " 403") || strings.Contains(out, "S3cr3t") || !strings.Contains(out, "uid 1000") || !strings.Contains(out, `"code":"NotAllowed"`) {
			t.Errorf("got %s", out)
		}
	})
	for name, text := range map[string]string{"keys": `{"accessKey": "A", "secretKey": "S3cr3t-of-bucket"}`, "no role": `{"role": false}`, "damaged": `{"role": tr`} {
		t.Run("the user, granted "+name, func(t *testing.T) {
			h.allow(text)
			defer h.allow(`{"role": true}`)
			out := h.as(nobody)
			if strings.Contains(out, "S3cr3t") || strings.HasSuffix(out, " 200") || !strings.Contains(out, "redoubt apply") {
				t.Errorf("got %s", out)
			}
			if code, _ := h.ask(role.Path); code != 200 {
				t.Errorf("root gets %d", code)
			}
		})
	}
	t.Run("the user, granted nothing", func(t *testing.T) {
		if err := os.Remove(h.grant); err != nil {
			t.Fatal(err)
		}
		defer h.allow(`{"role": true}`)
		if out := h.as(nobody); !strings.HasSuffix(out, " 403") || !strings.Contains(out, "storage.s3.iamRole") {
			t.Errorf("got %s", out)
		}
	})
	t.Run("another path", func(t *testing.T) {
		if code, body := h.ask("/latest/user-data"); code != 404 || !strings.Contains(body, role.Path) {
			t.Errorf("got %d %s", code, body)
		}
	})
	t.Run("nothing is logged", func(t *testing.T) {
		if text := h.logged(); strings.Contains(text, "S3cr3t") || strings.Contains(text, accessKey) {
			t.Errorf("logged: %s", text)
		}
	})
}

// TestCheck holds that the check shows what there is, but no secret.
func TestCheck(t *testing.T) {
	service, server := start(t)
	o := role.Options{Metadata: server.URL}
	var out bytes.Buffer
	if err := role.Check(t.Context(), o, &out); err != nil || !strings.Contains(out.String(), accessKey) || strings.Contains(out.String(), "S3cr3t") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	service.Attach("", nil)
	if err := role.Check(t.Context(), o, &out); err == nil || !strings.HasPrefix(err.Error(), "NoRole: ") {
		t.Errorf("got %v", err)
	}
}

// TestServeProblem holds that a client of the SDK learns what is wrong and how it
// is fixed.
func TestServeProblem(t *testing.T) {
	h := serve(t, time.Hour)
	h.service.Attach("", nil)
	p := endpointcreds.New("http://localhost"+role.Path, func(o *endpointcreds.Options) { o.HTTPClient = h.client })
	_, err := p.Retrieve(t.Context())
	if err == nil || !strings.Contains(err.Error(), "NoRole") || !strings.Contains(err.Error(), "attach one") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(h.logged(), "has no role") {
		t.Errorf("logged: %s", h.logged())
	}
	h.service.Attach("registry", func() metadata.Role { return metadata.Keys(accessKey, secretKey, token, time.Hour) })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err = p.Retrieve(t.Context()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("attached: %v", err)
		}
	}
}

// TestRotation holds that a client that keeps its credentials as the SDK does is
// never without valid ones, while each lives for seconds.
func TestRotation(t *testing.T) {
	t.Parallel()
	h := serve(t, time.Hour)
	const life = 4 * time.Second
	made := 0
	h.service.Attach("registry", func() metadata.Role {
		made++ // the helper asks for one at a time
		return metadata.Keys(accessKey+string(rune('A'+made)), secretKey, token, life)
	})
	cached := aws.NewCredentialsCache(endpointcreds.New("http://localhost"+role.Path, func(o *endpointcreds.Options) { o.HTTPClient = h.client }))
	seen := map[string]bool{}
	for end := time.Now().Add(3 * life); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got, err := cached.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !got.Expires.After(time.Now().Add(-100 * time.Millisecond)) {
			t.Fatalf("got credentials that ended at %v", got.Expires)
		}
		seen[got.AccessKeyID] = true
	}
	if len(seen) < 3 {
		t.Errorf("%d credentials in three lives: %v", len(seen), seen)
	}
}

func TestEnds(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		h := serve(t, 500*time.Millisecond)
		if code, _ := h.ask(role.Path); code != 200 {
			t.Errorf("got %d", code)
		}
		select {
		case err := <-h.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it keeps running")
		}
	})
	t.Run("told to", func(t *testing.T) {
		h := serve(t, time.Hour)
		h.end()
		select {
		case err := <-h.ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it keeps running")
		}
	})
	t.Run("unknown user", func(t *testing.T) {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		err = role.Serve(t.Context(), role.Options{User: "redoubt-nobody-at-all", Listener: l}, log.New(io.Discard, "", 0))
		if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "redoubt-nobody-at-all") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no socket", func(t *testing.T) {
		err := role.Serve(t.Context(), role.Options{User: "nobody"}, log.New(io.Discard, "", 0))
		if err == nil || !strings.Contains(err.Error(), "redoubt-credentials.socket") {
			t.Errorf("got %v", err)
		}
	})
}
