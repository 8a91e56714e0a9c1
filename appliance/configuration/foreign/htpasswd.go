package foreign

import (
	"regexp"
	"strings"
)

var bcrypt = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

// htpasswd takes the lines of a file as htpasswd makes it. The stock registry lets in
// only logins with bcrypt hashes, and so does the appliance.
func (d *draft) htpasswd(data []byte) {
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		line = strings.TrimSpace(line)
		name, hash, ok := strings.Cut(line, ":")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !ok || name == "":
			d.noLogin = true
			d.left("auth", "a line of the htpasswd file", "it is not NAME:HASH")
		case !bcrypt.MatchString(hash):
			d.noLogin = true
			d.left("auth", "the login "+name, "its hash is not bcrypt of a cost from 4 to 15: make one with htpasswd -nBC 10 "+name)
		default:
			d.logins = append(d.logins, name+":"+hash)
		}
	}
}
