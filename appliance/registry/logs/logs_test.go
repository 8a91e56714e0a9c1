package logs

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
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
		format string
		status int
		want   []string
	}{
		{"json", 201, []string{`"user":"alice"`, `"status":201`, `"bytes":7`, `_state=-`, `"remote":"192.0.2.1"`}},
		{"json", 401, []string{`"user":"-"`}},
		{"text", 201, []string{`192.0.2.1 - alice [`, `PUT /v2/a/blobs/uploads/1?_state=-`, ` 201 7 `}},
		{"text", 401, []string{`192.0.2.1 - - [`}},
	} {
		var out bytes.Buffer
		settings(t, configuration.Log{Level: "error", Formatter: tc.format, Fields: map[string]any{"service": "x"}}).NewAccess(&out).
			Write(r, tc.status, 7, began)
		text := out.String()
		for _, want := range append(tc.want, "service") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in %s", tc.format, want, text)
			}
		}
		if strings.Count(text, "\n") != 1 || strings.Contains(text, "secret") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", tc.format, text)
		}
		if tc.status == 401 && strings.Contains(text, "alice") {
			t.Error("a name that was refused may be a password typed in the wrong place")
		}
	}
}
