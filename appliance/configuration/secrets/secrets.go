// Package secrets resolves the secrets that a configuration names and keeps
// those that the machine makes itself: the secret that signs uploads, and the
// hashes of passwords that were given in the clear.
package secrets

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

const (
	maxSize     = 64 << 10 // of a secret in a file
	maxPassword = 72       // bytes that bcrypt takes
)

// SystemCredentials are those that the machine was started with. An apply by hand
// has no others.
const SystemCredentials = "/run/credentials/@system"

// Resolver finds secrets that are kept outside the configuration.
type Resolver struct {
	Root        string // what file: paths are below
	Credentials string // directory of the credentials for cred: names
	// Elsewhere makes do without the machine: what is kept elsewhere is not looked for,
	// and no password is hashed.
	Elsewhere bool
}

// errElsewhere is the error of what is not looked for. Facts and the checks of pairs
// leave it out.
var errElsewhere = errors.New("it is kept elsewhere")

// away says whether a value is not looked for.
func (r Resolver) away(s config.Secret) bool {
	return r.Elsewhere && (strings.HasPrefix(string(s), "cred:") || strings.HasPrefix(string(s), "file:"))
}

// sought leaves out of joined errors what is not looked for.
func sought(errs []error) error {
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, errElsewhere) })...)
}

// Value returns the secret itself, without a line break at its end. Errors
// name where it was looked for.
func (r Resolver) Value(s config.Secret) (string, error) {
	if r.away(s) {
		return "", errElsewhere
	}
	if name, ok := strings.CutPrefix(string(s), "cred:"); ok {
		value, err := read(filepath.Join(r.Credentials, name), "credential "+name)
		if errors.Is(err, fs.ErrNotExist) && r.Credentials == SystemCredentials {
			err = fmt.Errorf("%w; those of the machine's files are handed to the unit alone: systemctl restart redoubt-apply", err)
		}
		return value, err
	}
	if path, ok := strings.CutPrefix(string(s), "file:"); ok {
		return read(filepath.Join(r.Root, path), path)
	}
	return string(s), nil
}

// read reads the whole of a file.
func read(path, called string) (string, error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read %s: %w", called, files.Cause(err))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("cannot read %s: not a regular file", called)
	case info.Size() > maxSize:
		return "", fmt.Errorf("cannot read %s: larger than %d bytes, which no secret is", called, maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", called, files.Cause(err))
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", fmt.Errorf("cannot use %s: it is empty", called)
	}
	return value, nil
}

// Kept is what the machine has kept so far. A missing file is empty.
type Kept struct {
	HTTPSecret string
	Hashes     map[string]string
}

// Paths are the files of Kept, for disk.Read.
func Paths() []string { return []string{paths.HTTPSecret, paths.Hashes} }

// Load reads Kept from the files that disk.Read found.
func Load(files tree.Tree) (Kept, error) {
	var k Kept
	if f, ok := files.Lookup(paths.HTTPSecret); ok {
		k.HTTPSecret = strings.TrimSpace(string(f.Data))
	}
	if f, ok := files.Lookup(paths.Hashes); ok {
		if err := json.Unmarshal(f.Data, &k.Hashes); err != nil {
			return Kept{}, fmt.Errorf("cannot read %s: it is damaged; remove it, and the hashes are computed again", paths.Hashes)
		}
	}
	return k, nil
}

// Files is Kept as files.
func (k Kept) Files() (tree.Tree, error) {
	hashes, err := json.MarshalIndent(k.Hashes, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", paths.Hashes, err)
	}
	files := []tree.File{{Path: paths.Secrets, Mode: fs.ModeDir | 0o700}}
	if k.HTTPSecret != "" {
		files = append(files, tree.File{Path: paths.HTTPSecret, Mode: 0o600, Data: []byte(k.HTTPSecret + "\n")})
	}
	if len(k.Hashes) > 0 {
		files = append(files, tree.File{Path: paths.Hashes, Mode: 0o600, Data: append(hashes, '\n')})
	}
	return tree.New(files...)
}

// Problem is a secret that cannot be used, with the path of its key.
type Problem struct {
	Path string
	Err  error
}

func (p Problem) Error() string { return p.Path + ": " + p.Err.Error() }
func (p Problem) Unwrap() error { return p.Err }

// Facts returns what cfg needs of the machine, and what the machine is to keep
// from now on. A password is hashed once: as long as the kept hash fits it, it
// stays. Users that are gone, or have a hash of their own, keep none. The
// error joins a Problem for each secret that cannot be used.
func (r Resolver) Facts(cfg config.Config, kept Kept) (render.Facts, Kept, error) {
	var errs []error
	next := Kept{HTTPSecret: kept.HTTPSecret, Hashes: map[string]string{}}
	facts := render.Facts{PasswordHashes: map[string]string{}}
	facts.HTTPSecret = r.httpSecret(cfg, &next, &errs)
	for i, u := range cfg.Auth.Users {
		path := fmt.Sprintf("auth.users[%d]", i)
		if u.PasswordHash != "" {
			hash, err := r.hash(u.PasswordHash)
			if err != nil {
				errs = append(errs, Problem{path + ".passwordHash", err})
			}
			facts.PasswordHashes[u.Name] = hash
			continue
		}
		hash, err := r.hashed(u.Password, kept.Hashes[u.Name])
		if err != nil {
			errs = append(errs, Problem{path + ".password", err})
		}
		facts.PasswordHashes[u.Name], next.Hashes[u.Name] = hash, hash
	}
	r.clientTrust(cfg, &facts, &errs)
	r.bucket(cfg, &facts, &errs)
	r.redis(cfg, &facts, &errs)
	r.directory(cfg, &facts, &errs)
	for i, t := range cfg.Auth.OIDC.Trust {
		facts.IssuerCAs = append(facts.IssuerCAs, r.cas(t.CABundle, fmt.Sprintf("auth.oidc.trust[%d].caBundle", i), &errs))
	}
	r.watchers(cfg, &facts, &errs)
	r.endpoints(cfg, &facts, &errs)
	r.proxy(cfg, &facts, &errs)
	return facts, next, sought(errs)
}

func (r Resolver) httpSecret(cfg config.Config, next *Kept, errs *[]error) string {
	if cfg.HTTPSecret == "" {
		if next.HTTPSecret == "" {
			next.HTTPSecret = rand.Text() + rand.Text()
		}
		return next.HTTPSecret
	}
	value, err := r.Value(cfg.HTTPSecret)
	if err != nil {
		*errs = append(*errs, Problem{"httpSecret", err})
	}
	return value
}

func (r Resolver) hash(s config.Secret) (string, error) {
	hash, err := r.Value(s)
	if err != nil {
		return "", err
	}
	if _, err := bcrypt.Cost([]byte(hash)); err != nil || strings.ContainsAny(hash, "\n:") {
		return "", errors.New("not a bcrypt hash, as htpasswd -nBC 10 prints it")
	}
	return hash, nil
}

// hashed returns kept if that is a hash of the password, else a new one.
func (r Resolver) hashed(s config.Secret, kept string) (string, error) {
	password, err := r.Value(s)
	if err != nil {
		return "", err
	}
	if err := usable(password); err != nil {
		return "", err
	}
	if r.Elsewhere {
		return "", nil
	}
	if kept != "" && bcrypt.CompareHashAndPassword([]byte(kept), []byte(password)) == nil {
		return kept, nil
	}
	return bcrypted(password)
}

// Hash is the passwordHash of a password that a person chooses.
func Hash(password string) (string, error) {
	switch {
	case password == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(password, "\t\n"):
		return "", errors.New("it must not hold a tab or a line break")
	}
	if err := usable(password); err != nil {
		return "", err
	}
	return bcrypted(password)
}

// usable says why no client could log in with a password.
func usable(password string) error {
	if len(password) > maxPassword {
		return fmt.Errorf("too long: bcrypt takes at most %d bytes", maxPassword)
	}
	if strings.Contains(password, "\x00") {
		return errors.New("it has a NUL, which bcrypt takes for its end: write it as UTF-8")
	}
	return nil
}

func bcrypted(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", errors.New("cannot hash it")
	}
	return string(hash), nil
}
