// Package stores runs object stores for tests: MinIO and versitygw, real ones, on
// a loopback address, with credentials of their own and a directory that ends
// with its owner.
package stores

import (
	"cmp"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/redoubt-registry/redoubt/test/program"
)

// Options are how a store runs. The zero value is a store on 127.0.0.1 without TLS.
type Options struct {
	Listen string // the address that it listens on; empty: 127.0.0.1
	Also   string // a further address that its certificate is for
	Region string // empty: us-east-1
	TLS    bool   // its certificate is issued by a CA of its own, see Store.Roots
	Size   int64  // bytes of the file system that its data is on; 0: no limit. Wants root
}

// Owner is what a store belongs to and ends with: a test, or a program.
type Owner interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Store is a store that runs.
type Store struct {
	Name      string // minio or versitygw
	Endpoint  string // its URL
	Region    string
	AccessKey string // of its root user
	SecretKey string
	Roots     string // PEM that its certificate is checked with; empty without TLS
	Data      string // the directory with its data

	t       Owner
	options Options
	dir     string // all else of it
	address string
	command func(s *Store) (args, env []string) // how to run it
	buckets int
	mu      sync.Mutex
	process *process // nil: it does not run
}

// MinIO starts a MinIO.
func MinIO(t Owner, options ...Options) *Store {
	t.Helper()
	return start(t, "minio", minio, options)
}

// Versity starts a versitygw in front of a directory.
func Versity(t Owner, options ...Options) *Store {
	t.Helper()
	return start(t, "versitygw", versity, options)
}

func start(t Owner, name string, command func(*Store) (args, env []string), options []Options) *Store {
	t.Helper()
	s := &Store{Name: name, t: t, command: command, dir: t.TempDir()}
	if len(options) > 0 {
		s.options = options[0]
	}
	s.Region = cmp.Or(s.options.Region, "us-east-1")
	s.AccessKey, s.SecretKey = "access-"+strings.ToLower(rand.Text()[:8]), rand.Text()
	host := cmp.Or(s.options.Listen, "127.0.0.1")
	s.address = net.JoinHostPort(host, strconv.Itoa(program.FreePort(t, host)))
	s.Endpoint = "http://" + s.address
	if s.options.TLS {
		s.Endpoint = "https://" + s.address
		s.certify(host, s.options.Also)
	}
	s.Data = filepath.Join(s.dir, "data")
	if err := os.MkdirAll(s.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.options.Size > 0 {
		Limit(t, s.Data, s.options.Size)
	}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// minio says how MinIO is run: by itself, asking nobody for updates.
func minio(s *Store) (args, env []string) {
	certs := filepath.Join(s.dir, "certs") // empty without TLS
	return []string{"server", "--quiet", "--certs-dir", certs, "--address", s.address, s.Data}, []string{
		"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
		"MINIO_SITE_REGION=" + s.Region, "MINIO_BROWSER=off", "MINIO_UPDATE=off",
	}
}

// versity says how versitygw is run. It looks a user up at each request, so that
// one who was removed is refused at once.
func versity(s *Store) (args, env []string) {
	users := filepath.Join(s.dir, "users")
	args = []string{"--quiet", "--port", s.address, "--region", s.Region, "--iam-dir", users, "--iam-cache-disable"}
	if s.options.TLS {
		certs := filepath.Join(s.dir, "certs")
		args = append(args, "--cert", filepath.Join(certs, "public.crt"), "--key", filepath.Join(certs, "private.key"))
	}
	return append(args, "posix", s.Data), []string{
		"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey,
	}
}
