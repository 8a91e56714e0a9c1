package logs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/sirupsen/logrus"
)

func settings(t *testing.T, section configuration.Log) Settings {
	t.Helper()
	s, err := Read(section)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFieldsAndLevel(t *testing.T) {
	var out bytes.Buffer
	l := logrus.New()
	l.SetOutput(&out)
	s := settings(t, configuration.Log{Level: "warn", Formatter: "json", Fields: map[string]any{"service": "registry", "msg2": 1}})
	s.Apply(l)
	l.Info("not this")
	l.WithField("service", "own").WithField("go.version", "x").Warn("this")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if line["msg"] != "this" || line["service"] != "own" || line["msg2"] != 1.0 || line["go.version"] != nil {
		t.Errorf("%v", line)
	}
}

// A second Apply does not add to the first, and undo takes it back.
func TestApplyAgain(t *testing.T) {
	l := logrus.New()
	for range 5 {
		settings(t, configuration.Log{}).Apply(l)
	}
	before := len(l.Hooks[logrus.InfoLevel])
	undo := settings(t, configuration.Log{Level: "error", Formatter: "json"}).Apply(l)
	if n := len(l.Hooks[logrus.InfoLevel]); n != 1 || before != 1 {
		t.Errorf("%d and %d hooks", before, n)
	}
	undo()
	if l.GetLevel() != logrus.InfoLevel {
		t.Errorf("level %v", l.GetLevel())
	}
}

func TestBadSections(t *testing.T) {
	for _, section := range []configuration.Log{{Level: "loud"}, {Formatter: "xml"}} {
		if _, err := Read(section); err == nil {
			t.Errorf("%+v is in order", section)
		}
	}
}

func TestQuiet(t *testing.T) {
	off := configuration.Log{AccessLog: configuration.AccessLog{Disabled: true}}
	for _, tc := range []struct {
		section configuration.Log
		message string
		status  any
		want    bool
	}{
		{configuration.Log{}, "authorized request", nil, false},
		{configuration.Log{}, "response completed", 200, false},
		{configuration.Log{}, "response completed with error", 404, false},
		{configuration.Log{}, "response completed with error", 500, true},
		{configuration.Log{}, "error authorizing context: invalid authorization credential", nil, false},
		{configuration.Log{}, "error authorizing context: wrong user or password", nil, true},
		{off, "response completed", 200, true},
		{off, "response completed with error", 404, true},
		{configuration.Log{Level: "debug"}, "response completed", 200, true},
	} {
		var out bytes.Buffer
		l := logrus.New()
		l.SetOutput(&out)
		settings(t, tc.section).Apply(l)
		l.WithField("http.response.status", tc.status).Warn(tc.message)
		if got := out.Len() > 0; got != tc.want {
			t.Errorf("%s, %v: written %v", tc.message, tc.status, got)
		}
	}
}

func TestAccess(t *testing.T) {
	began := time.Now()
	r := httptest.NewRequest(http.MethodPut, "/v2/a/blobs/uploads/1?_state=secret&digest=sha256:x", nil)
	r.SetBasicAuth("alice", "hunter2")
	r.Header.Set("User-Agent", "docker/1\" \"x\n")
	r.Header.Set("Referer", "-")
	for _, tc := range []struct {
		format, user string
		status       int
		want         []string
	}{
		{"json", "alice", 201, []string{`"user":"alice"`, `"status":201`, `"bytes":7`, `_state=-`, `"remote":"192.0.2.1"`}},
		{"json", "", 401, []string{`"user":"-"`}},
		{"json", "", 200, []string{`"user":"-"`}}, // a page for all: nobody looked at the password
		{"text", "alice", 201, []string{`192.0.2.1 - alice [`, `PUT /v2/a/blobs/uploads/1?_state=-`, ` 201 7 `}},
		{"text", "", 401, []string{`192.0.2.1 - - [`}},
	} {
		var out bytes.Buffer
		settings(t, configuration.Log{Level: "error", Formatter: tc.format, Fields: map[string]any{"service": "x"}}).NewAccess(&out).
			Write(r, Answer{User: tc.user, Status: tc.status, Bytes: 7, Began: began})
		text := out.String()
		for _, want := range append(tc.want, "service") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in %s", tc.format, want, text)
			}
		}
		if strings.Count(text, "\n") != 1 || strings.Contains(text, "secret") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", tc.format, text)
		}
		if tc.user == "" && strings.Contains(text, "alice") {
			t.Error("a name that was refused may be a password typed in the wrong place")
		}
	}
}

// A stranger who sends much is told of in little.
func TestRefusalsAreSummedUp(t *testing.T) {
	var out lockedBuffer
	a := settings(t, configuration.Log{Level: "error", Formatter: "json"}).NewAccess(&out)
	a.refused = newRefusals(a.log, 3, 50*time.Millisecond)
	r := httptest.NewRequest(http.MethodGet, "/v2/"+strings.Repeat("x", 5000), nil)
	r.Header.Set("User-Agent", strings.Repeat("\x1b[2Jé", 10_000))
	for i := range 1000 {
		a.Write(r, Answer{Status: 401 + i%2*28, Began: time.Now()})
		a.Write(r, Answer{User: "alice", Status: 404, Began: time.Now()}) // who is known is never left out
		out.drop("alice")
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "not logged one by one") && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	text := out.String()
	if !strings.Contains(text, "refused requests without a login") || !strings.Contains(text, "of status 401") ||
		!strings.Contains(text, "of them from 192.0.2.1") || strings.Contains(text, "\x1b") || strings.Contains(text, "u001b") {
		t.Errorf("%.3000s", text)
	}
	if len(text) > 100_000 || strings.Count(text, "useragent") < 3 {
		t.Errorf("1000 refusals left %d bytes", len(text))
	}
	if out.dropped != 1000 {
		t.Errorf("%d of 1000 requests of a user are logged", out.dropped)
	}
}

type lockedBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	dropped int
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// drop counts and takes out the lines with word.
func (b *lockedBuffer) drop(word string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := strings.SplitAfter(b.text.String(), "\n")
	b.text.Reset()
	for _, line := range lines {
		if strings.Contains(line, word) {
			b.dropped++
			continue
		}
		b.text.WriteString(line)
	}
}

// What upstream logs of a request is cut, printable, and without an upload's state.
func TestUpstreamsLinesAreSafe(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		l := logrus.New()
		l.SetOutput(&out)
		settings(t, configuration.Log{Formatter: format}).Apply(l)
		l.WithFields(logrus.Fields{
			"http.request.uri":       "/v2/a/blobs/uploads/1?_state=secret&digest=sha256:x",
			"http.request.useragent": strings.Repeat("a\x1b]0;x\a\u202e", 20_000),
			"vars.name":              strings.Repeat("n", 5000),
		}).Error("response completed with error")
		text := out.String()
		if strings.Contains(text, "secret") || !strings.Contains(text, "_state=-") || len(text) > 2000 ||
			strings.ContainsAny(text, "\x1b\a\u202e") || strings.Contains(text, "u001b") {
			t.Errorf("%s: %.1000s", format, text)
		}
	}
}

// One wrong login can be read, a flood of them cannot fill the journal.
func TestRefusedLoginsAreLimited(t *testing.T) {
	var out bytes.Buffer
	l := logrus.New()
	l.SetOutput(&out)
	settings(t, configuration.Log{}).Apply(l)
	for range 1000 {
		l.Warn("error authorizing context: wrong user or password")
	}
	if n := strings.Count(out.String(), "\n"); n < 1 || n > 2*refusalsTold {
		t.Errorf("1000 refused logins left %d lines", n)
	}
}
