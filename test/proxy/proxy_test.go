package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/test/proxy"
)

// echo answers a request with its body and counts.
func echo(t *testing.T) (url string, seen *atomic.Int64) {
	seen = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL, seen
}

func ask(t *testing.T, client *http.Client, url, body string) (int, string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/a?b", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

func fresh(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
}

const long = time.Minute

func TestLine(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, url string) *proxy.Proxy{
		"TCP":  func(t *testing.T, url string) *proxy.Proxy { return proxy.TCP(t, strings.TrimPrefix(url, "http://")) },
		"HTTP": func(t *testing.T, url string) *proxy.Proxy { return proxy.HTTP(t, url) },
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := echo(t)
			p := start(t, url)
			big := strings.Repeat("bytes ", 1e6)
			if _, got, err := ask(t, fresh(long), p.URL, big); err != nil || got != big {
				t.Fatalf("%d bytes came back of %d: %v", len(got), len(big), err)
			}
			p.Latency(300 * time.Millisecond)
			began := time.Now()
			if _, got, err := ask(t, fresh(long), p.URL, "late"); err != nil || got != "late" || time.Since(began) < 600*time.Millisecond {
				t.Errorf("with latency: %q %v after %s", got, err, time.Since(began))
			}
			p.Latency(0)
			p.Rate(6e6)
			began = time.Now()
			if _, got, err := ask(t, fresh(long), p.URL, big); err != nil || got != big || time.Since(began) < 900*time.Millisecond {
				t.Errorf("with a limit: %d bytes, %v, after %s", len(got), err, time.Since(began))
			}
			p.Heal(t)
			p.Freeze()
			if _, _, err := ask(t, fresh(300*time.Millisecond), p.URL, "frozen"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("frozen: %v", err)
			}
			p.Thaw()
			if _, got, err := ask(t, fresh(long), p.URL, "thawed"); err != nil || got != "thawed" {
				t.Errorf("thawed: %q %v", got, err)
			}
		})
	}
}

func TestFreezeKeepsWhatIsUnderWay(t *testing.T) {
	url, _ := echo(t)
	p := proxy.HTTP(t, url)
	p.Freeze()
	time.AfterFunc(500*time.Millisecond, p.Thaw)
	if _, got, err := ask(t, fresh(long), p.URL, "kept"); err != nil || got != "kept" {
		t.Errorf("%q %v", got, err)
	}
}

func TestCut(t *testing.T) {
	url, _ := echo(t)
	p := proxy.TCP(t, strings.TrimPrefix(url, "http://"))
	p.Freeze()
	result := make(chan error, 1)
	go func() {
		_, _, err := ask(t, fresh(long), p.URL, "cut")
		result <- err
	}()
	for deadline := time.Now().Add(long); p.Connections() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody connects")
		}
	}
	p.Cut()
	if err := <-result; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an open connection: %v", err)
	}
	if _, _, err := ask(t, fresh(long), p.URL, "cut"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	p.Heal(t)
	if _, got, err := ask(t, fresh(long), p.URL, "again"); err != nil || got != "again" {
		t.Errorf("restored: %q %v", got, err)
	}
}

func TestAnswers(t *testing.T) {
	url, seen := echo(t)
	p := proxy.HTTP(t, url)
	p.Set(proxy.Fault{Status: 503})
	if status, got, err := ask(t, fresh(long), p.URL, "x"); err != nil || status != 503 || !strings.Contains(got, "<Code>SlowDown</Code>") {
		t.Errorf("%d %q %v", status, got, err)
	}
	p.Set(proxy.Fault{Status: 500, Empty: true, Times: 1})
	if status, got, err := ask(t, fresh(long), p.URL, "x"); err != nil || status != 500 || got != "" {
		t.Errorf("%d %q %v", status, got, err)
	}
	if n := seen.Load(); n != 0 {
		t.Errorf("the server saw %d requests that it should not", n)
	}
	if status, _, err := ask(t, fresh(long), p.URL, "x"); err != nil || status != 200 {
		t.Errorf("after the one time: %d %v", status, err)
	}
	p.Set(proxy.Fault{Status: 500, Share: 0.5})
	failed := 0
	for range 200 {
		if status, _, _ := ask(t, fresh(long), p.URL, "x"); status == 500 {
			failed++
		}
	}
	if failed < 50 || failed > 150 {
		t.Errorf("%d of 200 failed, want about a half", failed)
	}
	if n := p.Requests("PUT /a?b"); n != 203 {
		t.Errorf("%d requests counted of 203", n)
	}
}

func TestLostAnswer(t *testing.T) {
	url, seen := echo(t)
	p := proxy.HTTP(t, url)
	p.Set(proxy.Fault{Match: func(r *http.Request) bool { return r.Method == http.MethodPut }, Lost: true, Times: 1},
		proxy.Fault{Lost: true, Status: 500, Times: 1})
	if status, _, err := ask(t, fresh(long), p.URL, "x"); err == nil {
		t.Errorf("an answer that was lost came: %d", status)
	}
	if n := seen.Load(); n != 1 {
		t.Errorf("the server saw %d requests, want 1", n)
	}
	if status, _, err := ask(t, fresh(long), p.URL, "x"); err != nil || status != 500 || seen.Load() != 2 {
		t.Errorf("%d %v, the server saw %d", status, err, seen.Load())
	}
}

func TestGoneServer(t *testing.T) {
	p := proxy.HTTP(t, "http://127.0.0.1:1")
	if status, _, err := ask(t, fresh(long), p.URL, "x"); err == nil {
		t.Errorf("nobody is there and answers %d", status)
	}
}
