package logs

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/printable"
)

// Access is an access log.
type Access struct {
	log     *logrus.Logger
	text    bool
	refused *refusals
}

// Answer is what became of one request.
type Answer struct {
	User   string // proven; empty for a stranger
	Status int
	Bytes  int64
	Began  time.Time
}

// NewAccess makes an access log in the settings' form, whatever their level.
func (s Settings) NewAccess(w io.Writer) *Access {
	l := logrus.New()
	s.Apply(l)
	l.SetOutput(w)
	l.SetLevel(logrus.InfoLevel)
	return &Access{log: l, text: s.Text(), refused: newRefusals(l, refusalsTold, refusalsPause)}
}

// Write writes one line for an answered request: the fields of the combined
// log format, as such a line in a text log and as fields otherwise. Values of the
// client are cut and made printable. Refusals of strangers are counted when there
// are many. Nothing of the Authorization header is written: the user is only said
// when it was proven.
func (a *Access) Write(r *http.Request, w Answer) {
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	if w.User == "" && w.Status >= 400 && w.Status < 500 && a.refused.count(remote, w.Status) {
		return
	}
	user := w.User
	if user == "" {
		user = "-"
	}
	uri := masked(r.URL.RequestURI())
	if a.text {
		a.log.Infof("%s - %s [%s] %q %d %d %q %q", remote, printable.Value(user), w.Began.Format("02/Jan/2006:15:04:05 -0700"),
			printable.Value(r.Method)+" "+printable.Value(uri)+" "+r.Proto, w.Status, w.Bytes, printable.Value(r.Referer()), printable.Value(r.UserAgent()))
		return
	}
	a.log.WithFields(logrus.Fields{
		"remote": remote, "user": printable.Value(user), "method": printable.Value(r.Method), "uri": printable.Value(uri), "proto": r.Proto,
		"status": w.Status, "bytes": w.Bytes, "useragent": printable.Value(r.UserAgent()),
		"duration": fmt.Sprintf("%.6f", time.Since(w.Began).Seconds()),
	}).Info("request")
}
