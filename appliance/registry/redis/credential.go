package redis

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Directories are where a process finds its credentials: a unit in its own
// directory, root by hand where apply leaves them for the units.
func Directories() []string {
	return []string{os.Getenv("CREDENTIALS_DIRECTORY"), paths.Credentials}
}

type login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// login is that of registry.yml, if it has one, or else the credential's.
func (s *Server) login() (login, error) {
	o := s.section.Options
	if o.Password != "" || !s.Shared() {
		return login{o.Username, o.Password}, nil
	}
	for _, dir := range s.credentials {
		if dir == "" {
			continue
		}
		path := filepath.Join(dir, paths.RedisCredential)
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return login{}, fmt.Errorf("its login cannot be read: %w", err)
		}
		var l login
		if json.Unmarshal(data, &l) != nil { // its error might show the password
			return login{}, fmt.Errorf("its login cannot be read: %s is not JSON with username and password (redoubt apply writes it)", path)
		}
		return l, nil
	}
	return login{}, nil
}
