package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/ldap"
	places "github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/appliance/registry/redis"
)

// directoryOption is the option of our access controller with the directory whose users log
// in. Distribution's own words have none for it.
const directoryOption = "ldap"

// takeDirectory reads where the directory is. Its password is a credential.
func (g *generation) takeDirectory() error {
	given := g.config.Auth.Parameters()[directoryOption]
	if given == nil {
		return nil
	}
	var o struct {
		Servers                             []string
		StartTLS                            bool
		CABundle, BindDN                    string
		UserBase, UserAttribute, UserFilter string
		Groups, GroupBase                   string
		Timeout, Cache                      time.Duration
	}
	data, err := yaml.Marshal(given)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &o)
	}
	if err != nil {
		return errors.New("cannot use auth.ldap: it cannot be read")
	}
	s := ldap.Settings{
		Servers: o.Servers, StartTLS: o.StartTLS, BindDN: o.BindDN, UserBase: o.UserBase, UserAttribute: o.UserAttribute,
		UserFilter: o.UserFilter, Groups: o.Groups, GroupBase: o.GroupBase, Timeout: o.Timeout, Cache: o.Cache,
	}
	if o.CABundle != "" {
		s.CABundle = []byte(o.CABundle)
	}
	if o.BindDN != "" {
		if s.Password, err = directoryPassword(); err != nil {
			return fmt.Errorf("cannot use auth.ldap: %w", err)
		}
	}
	if g.directory, err = ldap.New(s, time.Now); err != nil {
		return fmt.Errorf("cannot use auth.ldap: %w", err)
	}
	return nil
}

func directoryPassword() (string, error) {
	for _, dir := range redis.Directories() {
		data, err := os.ReadFile(filepath.Join(dir, places.LDAPCredential))
		if dir == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var login struct{ Password string }
		if err == nil {
			err = json.Unmarshal(data, &login)
		}
		if err != nil || login.Password == "" {
			return "", errors.New("its password cannot be read: run redoubt apply to write it again")
		}
		return login.Password, nil
	}
	return "", errors.New("its password is missing: systemctl restart redoubt-registry hands it over")
}
