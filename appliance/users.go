package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/plan"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// usersFile is the layer that AddUser and RemoveUser write. Its name comes after those
// that begin with a number.
const usersFile = paths.OperatorDir + "/users.yaml"

const usersHeader = "# Written by redoubt user, which reads it again. Other settings belong into other files.\n"

// usersLayer is what is in usersFile.
type usersLayer struct {
	Auth struct {
		Users []layerUser `yaml:"users"`
	} `yaml:"auth"`
}

type layerUser struct {
	Name         string `yaml:"name"`
	PasswordHash string `yaml:"passwordHash,omitempty"`
	Remove       bool   `yaml:"remove,omitempty"`
}

// drop takes out what the layer says of a user.
func (l *usersLayer) drop(name string) {
	l.Auth.Users = slices.DeleteFunc(l.Auth.Users, func(u layerUser) bool { return u.Name == name })
}

// document is the layer as a file; nothing for a layer that says nothing, since an
// empty list would take all users away.
func (l *usersLayer) document() ([]byte, error) {
	if len(l.Auth.Users) == 0 {
		return nil, nil
	}
	text, err := yaml.Marshal(l)
	return append([]byte(usersHeader), text...), err
}

// AddUser makes a user, or gives one another password, and applies that.
func (m *Machine) AddUser(ctx context.Context, name, password string) error {
	hash, err := secrets.Hash(password)
	if err != nil {
		return fmt.Errorf("cannot use this password: %w", err)
	}
	return m.changeUsers(ctx, func(own usersLayer, layers []config.Layer) (usersLayer, string, error) {
		before, _, _ := config.Parse(layers)
		own.drop(name)
		own.Auth.Users = append(own.Auth.Users, layerUser{Name: name, PasswordHash: hash})
		after, origins, report, err := withUsers(layers, own)
		if err = errors.Join(err, report.Err()); err != nil {
			return own, "", err
		}
		if i := userAt(after, name); i < 0 || string(after.Auth.Users[i].PasswordHash) != hash {
			return own, "", fmt.Errorf("%v has another word on this user: change it there", userOrigin(after, origins, name))
		}
		if userAt(before, name) < 0 {
			return own, "added", nil
		}
		return own, "changed", nil
	}, name)
}

// RemoveUser takes a user away, wherever it was written, and applies that.
func (m *Machine) RemoveUser(ctx context.Context, name string) error {
	return m.changeUsers(ctx, func(own usersLayer, layers []config.Layer) (usersLayer, string, error) {
		before, _, _ := config.Parse(layers)
		if userAt(before, name) < 0 {
			return own, "", errors.New("there is no such user: redoubt user list names them all")
		}
		own.drop(name)
		after, origins, report, err := withUsers(layers, own)
		if err == nil && userAt(after, name) >= 0 { // another layer has it too
			own.Auth.Users = append(own.Auth.Users, layerUser{Name: name, Remove: true})
			after, origins, report, err = withUsers(layers, own)
		}
		if err = errors.Join(err, report.Err()); err != nil {
			return own, "", err
		}
		if userAt(after, name) >= 0 {
			return own, "", fmt.Errorf("%v adds this user: remove it there", userOrigin(after, origins, name))
		}
		return own, "removed", nil
	}, name)
}

// changeUsers lets change say what usersFile is to be, among the layers of the machine,
// writes it and applies. A change that cannot be used writes nothing.
func (m *Machine) changeUsers(ctx context.Context, change func(usersLayer, []config.Layer) (usersLayer, string, error), name string) error {
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	own, err := m.readUsers()
	if err != nil {
		return err
	}
	own, done, err := change(own, m.layers())
	if err != nil {
		return fmt.Errorf("cannot change the user, and nothing was changed: %w", err)
	}
	data, err := own.document()
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", usersFile, err)
	}
	p := plan.Plan{Write: []tree.File{{Path: usersFile, Mode: 0o600, Data: data}}}
	if data == nil {
		p = plan.Plan{Remove: []string{usersFile}}
	}
	if err := disk.Commit(m.Root, p); err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "%-8s the user %s, in %s\n", done, name, usersFile)
	return m.apply(ctx, Options{})
}

// readUsers reads usersFile. What else a person has written there would be lost.
func (m *Machine) readUsers() (own usersLayer, err error) {
	data, err := os.ReadFile(filepath.Join(m.Root, usersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return own, nil
	}
	if err == nil {
		decoder := yaml.NewDecoder(bytes.NewReader(data))
		decoder.KnownFields(true)
		if err = decoder.Decode(&own); errors.Is(err, io.EOF) {
			err = nil
		} else if err != nil { // its text may have a value
			err = errors.New("it has more than users with a passwordHash: move the rest into another file of " + paths.OperatorDir)
		}
	}
	if err != nil {
		return own, fmt.Errorf("cannot use %s: %w", usersFile, err)
	}
	return own, nil
}

// layers are those of the machine, with what they are laid on where cloud-init has
// found nothing.
func (m *Machine) layers() []config.Layer {
	found := m.Source.Read()
	if m.noNews(found) == nil {
		return found.Layers
	}
	lastGood, err := history.LastGood(m.Root, m.Vault)
	if err != nil {
		m.warn("%v", err)
	}
	return append([]config.Layer{{Name: paths.LastGood, Data: lastGood}}, found.Layers...)
}

// withUsers parses layers with own in the place of usersFile.
func withUsers(layers []config.Layer, own usersLayer) (config.Config, config.Origins, config.Report, error) {
	data, err := own.document()
	all := slices.DeleteFunc(slices.Clone(layers), func(l config.Layer) bool { return l.Name == usersFile })
	at := slices.IndexFunc(all, func(l config.Layer) bool {
		return strings.HasPrefix(l.Name, paths.OperatorDir+"/") && l.Name > usersFile
	})
	if at < 0 {
		at = len(all)
	}
	if data != nil {
		all = slices.Insert(all, at, config.Layer{Name: usersFile, Data: data})
	}
	cfg, origins, report := config.Parse(all)
	return cfg, origins, report, err
}

// userAt is the number of a user, or -1.
func userAt(cfg config.Config, name string) int {
	return slices.IndexFunc(cfg.Auth.Users, func(u config.User) bool { return u.Name == name })
}

// userOrigin is where a user's password was written, or else the user.
func userOrigin(cfg config.Config, origins config.Origins, name string) config.Origin {
	path := fmt.Sprintf("auth.users[%d]", userAt(cfg, name))
	for _, key := range []string{".passwordHash", ".password"} {
		if at, ok := origins[path+key]; ok {
			return at
		}
	}
	return origins.At(path)
}

// ListUsers prints the logins with a password, and where each was written.
func (m *Machine) ListUsers() error {
	cfg, origins, report := config.Parse(m.layers())
	if err := report.Err(); err != nil {
		return fmt.Errorf("cannot list the users, since the configuration cannot be used:\n%w", err)
	}
	w := tabwriter.NewWriter(m.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tWRITTEN IN")
	for _, u := range cfg.Auth.Users {
		fmt.Fprintf(w, "%s\t%v\n", u.Name, userOrigin(cfg, origins, u.Name))
	}
	return w.Flush()
}
