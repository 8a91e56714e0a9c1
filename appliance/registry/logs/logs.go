// Package logs sets up the process's log, which distribution writes to through
// logrus, and the access log.
package logs

import (
	"fmt"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/printable"
	"golang.org/x/time/rate"
)

// Settings is a log section that was found in order.
type Settings struct {
	level     logrus.Level
	formatter logrus.Formatter
	fields    map[string]any
	caller    bool
}

// Read checks a log section.
func Read(section configuration.Log) (Settings, error) {
	s := Settings{level: logrus.InfoLevel, fields: section.Fields, caller: section.ReportCaller}
	if section.Level != "" {
		level, err := logrus.ParseLevel(string(section.Level))
		if err != nil {
			return s, fmt.Errorf("cannot use log.level: it must be error, warn, info or debug")
		}
		s.level = level
	}
	switch section.Formatter {
	case "", "text":
		s.formatter = &logrus.TextFormatter{TimestampFormat: time.RFC3339Nano, DisableColors: true}
	case "json":
		s.formatter = &logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano, DisableHTMLEscape: true}
	case "logstash":
		s.formatter = &logrus.JSONFormatter{
			TimestampFormat: time.RFC3339Nano,
			FieldMap:        logrus.FieldMap{logrus.FieldKeyFunc: "function"},
		}
	default:
		return s, fmt.Errorf("cannot use log.formatter: it must be text, json or logstash")
	}
	s.formatter = safe{s.formatter}
	if s.level < logrus.DebugLevel {
		s.formatter = quiet{
			Formatter: s.formatter,
			accessLog: !section.AccessLog.Disabled,
			refused:   rate.NewLimiter(rate.Every(refusalsPause/refusalsTold), refusalsTold),
		}
	}
	return s, nil
}

// Text says whether lines are text.
func (s Settings) Text() bool {
	f := s.formatter
	if q, ok := f.(quiet); ok {
		f = q.Formatter
	}
	if q, ok := f.(safe); ok {
		f = q.Formatter
	}
	_, text := f.(*logrus.TextFormatter)
	return text
}

// safe makes what clients sent fit for the log: upstream's lines carry the target
// of the request, with its state, its agent and more.
type safe struct {
	logrus.Formatter
}

func (f safe) Format(e *logrus.Entry) ([]byte, error) {
	data := make(logrus.Fields, len(e.Data))
	for name, value := range e.Data {
		text, ok := value.(string)
		switch {
		case ok && strings.HasPrefix(name, "http.request."):
			data[name] = printable.Value(masked(text))
		case ok && strings.HasPrefix(name, "vars."):
			data[name] = printable.Value(text)
		default:
			data[name] = value
		}
	}
	clean := *e
	clean.Data = data
	return f.Formatter.Format(&clean)
}

// quiet leaves out upstream's lines about each request that say nothing which
// the access log does not, or nothing at all: a request without a login is how
// every client begins, and the watchdog's come by the dozen.
type quiet struct {
	logrus.Formatter
	accessLog bool
	refused   *rate.Limiter // of logins: strangers must not fill the journal
}

func (q quiet) Format(e *logrus.Entry) ([]byte, error) {
	switch {
	case e.Message == "error authorizing context: "+auth.ErrInvalidCredential.Error(),
		strings.HasPrefix(e.Message, "error authorizing context: ") && !q.refused.Allow(),
		q.accessLog && (e.Message == "authorized request" || e.Message == "response completed"),
		q.accessLog && e.Message == "response completed with error" && clientError(e.Data["http.response.status"]):
		return nil, nil
	}
	return q.Formatter.Format(e)
}

// clientError says whether a request was answered as it should be: every push
// begins with asking for layers that are not there.
func clientError(status any) bool {
	n, ok := status.(int)
	return ok && n >= 400 && n < 500
}

// Apply puts the settings in force on logger; the function it returns takes
// that back. Hooks of an earlier application of distribution go, or each one
// would add its mail hooks again.
func (s Settings) Apply(logger *logrus.Logger) (undo func()) {
	level, formatter, caller := logger.GetLevel(), logger.Formatter, logger.ReportCaller
	hooks := logrus.LevelHooks{}
	hooks.Add(fieldHook(s.fields))
	before := logger.ReplaceHooks(hooks)
	logger.SetLevel(s.level)
	logger.SetFormatter(s.formatter)
	logger.SetReportCaller(s.caller)
	return func() {
		logger.ReplaceHooks(before)
		logger.SetLevel(level)
		logger.SetFormatter(formatter)
		logger.SetReportCaller(caller)
	}
}

// fieldHook adds log.fields to every line. Upstream's own way to do so is
// internal to it.
type fieldHook map[string]any

func (fieldHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h fieldHook) Fire(e *logrus.Entry) error {
	delete(e.Data, "go.version") // upstream puts it on every line
	for k, v := range h {
		if _, taken := e.Data[k]; !taken {
			e.Data[k] = v
		}
	}
	return nil
}
