package stores

import (
	"context"
	"crypto/rand"
	"os/exec"
	"strings"

	"github.com/redoubt-registry/redoubt/test/program"
)

// User is someone besides the root user who may read and write every bucket.
type User struct{ AccessKey, SecretKey string }

// NewUser makes one.
func (s *Store) NewUser(t Owner) User {
	t.Helper()
	u := User{AccessKey: "user-" + strings.ToLower(rand.Text()[:8]), SecretKey: rand.Text()}
	s.admin(t, [][]string{{"add", u.AccessKey, u.SecretKey}}, [][]string{{"create-user", "--access", u.AccessKey, "--secret", u.SecretKey, "--role", "admin"}})
	return u
}

// RemoveUser makes the store refuse a user from now on.
func (s *Store) RemoveUser(t Owner, u User) {
	t.Helper()
	s.admin(t, [][]string{{"remove", u.AccessKey}}, [][]string{{"delete-user", "--access", u.AccessKey}})
}

// admin tells the store, each in its own way.
func (s *Store) admin(t Owner, minio, versity [][]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callWait)
	defer cancel()
	path, lines := program.Tool(t, "minio", "minio-user"), minio
	env := []string{"ENDPOINT=" + s.Endpoint, "ACCESS_KEY=" + s.AccessKey, "SECRET_KEY=" + s.SecretKey, "ROOTS=" + s.Roots}
	if s.Name == "versitygw" {
		path, lines = program.Tool(t, "versitygw", "versitygw"), versity
		env = []string{"ADMIN_ENDPOINT_URL=" + s.Endpoint, "ADMIN_ACCESS_KEY=" + s.AccessKey, "ADMIN_SECRET_KEY=" + s.SecretKey,
			"ADMIN_REGION=" + s.Region, "ADMIN_ALLOW_INSECURE=true"}
	}
	for _, args := range lines {
		if s.Name == "versitygw" {
			args = append([]string{"admin"}, args...)
		}
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(environment(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot change the users of %s: %v\n%s", s.Name, err, out)
		}
	}
}
