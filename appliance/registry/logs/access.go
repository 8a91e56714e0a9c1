package logs

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
)

// Access is an access log.
type Access struct {
	log  *logrus.Logger
	text bool
}

// NewAccess makes an access log in the settings' form, whatever their level.
func (s Settings) NewAccess(w io.Writer) *Access {
	l := logrus.New()
	s.Apply(l)
	l.SetOutput(w)
	l.SetLevel(logrus.InfoLevel)
	return &Access{log: l, text: s.Text()}
}

// Write writes one line for an answered request: the fields of the combined
// log format, as such a line in a text log and as fields otherwise. Nothing of
// the Authorization header is written but the name of a user who was let in.
func (a *Access) Write(r *http.Request, status int, bytes int64, began time.Time) {
	user := "-"
	if name, _, ok := r.BasicAuth(); ok && status != http.StatusUnauthorized {
		user = name
	}
	if name := clients.User(r.Context()); name != "" {
		user = name
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	if a.text {
		a.log.Infof("%s - %s [%s] %q %d %d %q %q", remote, user, began.Format("02/Jan/2006:15:04:05 -0700"),
			r.Method+" "+target(r.URL)+" "+r.Proto, status, bytes, r.Referer(), r.UserAgent())
		return
	}
	a.log.WithFields(logrus.Fields{
		"remote": remote, "user": user, "method": r.Method, "uri": target(r.URL), "proto": r.Proto,
		"status": status, "bytes": bytes, "useragent": r.UserAgent(),
		"duration": fmt.Sprintf("%.6f", time.Since(began).Seconds()),
	}).Info("request")
}

// target is the request's path and query without an upload's state, which is a
// signed token.
func target(u *url.URL) string {
	if u.RawQuery == "" {
		return u.EscapedPath()
	}
	parts := strings.Split(u.RawQuery, "&")
	for i, p := range parts {
		if strings.HasPrefix(p, "_state=") {
			parts[i] = "_state=-"
		}
	}
	return u.EscapedPath() + "?" + strings.Join(parts, "&")
}
