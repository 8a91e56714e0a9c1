package secrets_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
)

const hash = "$2y$10$ABCDEFGHIJKLMNOPQRSTUeJ8fYd0q8m5vZ9m0o6h1w8x4c6ZkQm9e"

func users(u ...config.User) config.Config { return config.Config{Auth: config.Auth{Users: u}} }

func TestAPasswordIsHashedOnceAndAnewWhenItChanges(t *testing.T) {
	cfg := users(config.User{Name: "alice", Password: "one"}, config.User{Name: "bob", PasswordHash: hash})
	facts, kept, err := secrets.Resolver{}.Facts(cfg, secrets.Kept{})
	if err != nil {
		t.Fatal(err)
	}
	first := facts.PasswordHashes["alice"]
	if bcrypt.CompareHashAndPassword([]byte(first), []byte("one")) != nil {
		t.Errorf("%q is not a hash of the password", first)
	}
	if facts.PasswordHashes["bob"] != hash || len(kept.Hashes) != 1 || facts.HTTPSecret == "" {
		t.Errorf("facts %+v, kept %+v", facts, kept)
	}

	again, keptAgain, err := secrets.Resolver{}.Facts(cfg, kept)
	if err != nil || again.PasswordHashes["alice"] != first || again.HTTPSecret != facts.HTTPSecret {
		t.Errorf("the second time differs: %+v, %v", again, err)
	}
	changed, _, err := secrets.Resolver{}.Facts(users(config.User{Name: "alice", Password: "two"}), keptAgain)
	if err != nil || bcrypt.CompareHashAndPassword([]byte(changed.PasswordHashes["alice"]), []byte("two")) != nil {
		t.Errorf("a changed password keeps its old hash: %v", err)
	}
	_, gone, err := secrets.Resolver{}.Facts(users(), keptAgain)
	if err != nil || len(gone.Hashes) != 0 {
		t.Errorf("a user who is gone is still kept: %+v, %v", gone, err)
	}
}

func TestKeptIsForRootAloneAndReadsBack(t *testing.T) {
	kept := secrets.Kept{HTTPSecret: "s", Hashes: map[string]string{"a": "b"}}
	files, err := kept.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Mode.Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", f.Path, f.Mode)
		}
	}
	back, err := secrets.Load(files)
	if err != nil || back.HTTPSecret != "s" || back.Hashes["a"] != "b" {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestSecretsFromFilesAndCredentials(t *testing.T) {
	root, credentials := t.TempDir(), t.TempDir()
	write := func(path, data string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "secret"), "from a file\n")
	write(filepath.Join(root, "empty"), "\n")
	write(filepath.Join(root, "large"), strings.Repeat("x", 100<<10))
	write(filepath.Join(credentials, "name"), "from a credential")
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := secrets.Resolver{Root: root, Credentials: credentials}
	tests := []struct {
		in         config.Secret
		want, fail string
	}{
		{"literal", "literal", ""},
		{"file:/secret", "from a file", ""},
		{"cred:name", "from a credential", ""},
		{"file:/missing", "", "cannot read /missing: no such file or directory"},
		{"cred:missing", "", "cannot read credential missing: no such file or directory"},
		{"file:/empty", "", "cannot use /empty: it is empty"},
		{"file:/large", "", "cannot read /large: larger than 65536 bytes, which no secret is"},
		{"file:/dir", "", "cannot read /dir: not a regular file"},
	}
	for _, test := range tests {
		got, err := r.Value(test.in)
		if got != test.want || (err == nil) != (test.fail == "") || (err != nil && err.Error() != test.fail) {
			t.Errorf("%s: got %q, %v; want %q, %q", test.in, got, err, test.want, test.fail)
		}
	}
}

// By hand, the credentials of the unit are not there, and what to do is said.
func TestACredentialByHand(t *testing.T) {
	_, err := secrets.Resolver{Credentials: secrets.SystemCredentials}.Value("cred:redoubt.of-the-tests")
	if err == nil || !strings.HasSuffix(err.Error(), "systemctl restart redoubt-apply") {
		t.Errorf("got %v", err)
	}
}

func TestProblemsNameTheKeyAndNeverTheValue(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"hash": "hunter2", "utf-16": "h\x00u\x00n\x00t\x00"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := users(
		config.User{Name: "a", PasswordHash: "file:/hash"},
		config.User{Name: "b", Password: config.Secret(strings.Repeat("hunter2", 11))},
		config.User{Name: "c", Password: "file:/utf-16"},
	)
	cfg.HTTPSecret = "file:/missing"
	_, _, err := secrets.Resolver{Root: root}.Facts(cfg, secrets.Kept{})
	if err == nil {
		t.Fatal("no error")
	}
	want := `httpSecret: cannot read /missing: no such file or directory
auth.users[0].passwordHash: not a bcrypt hash, as htpasswd -nBC 10 prints it
auth.users[1].password: too long: bcrypt takes at most 72 bytes
auth.users[2].password: it has a NUL, which bcrypt takes for its end: write it as UTF-8`
	if err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// What a bucket and a Redis elsewhere need is read from where it is kept, and
// each mistake names its key and no value.
func TestBucketAndRedis(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("id", "AKIAEXAMPLE\n")
	write("key", "a secret hunter2\n")
	write("ca", "hunter2")
	cfg := users()
	cfg.Storage.S3 = &config.S3{AccessKey: "file:/id", SecretKey: "literal"}
	cfg.Cache.Type, cfg.Cache.Redis = "redis", config.Redis{Address: "10.0.0.7:6379", Password: "cred:redis"}
	r := secrets.Resolver{Root: root, Credentials: root}
	write("redis", "two words")
	facts, _, err := r.Facts(cfg, secrets.Kept{})
	if err != nil || facts.S3.Access != "AKIAEXAMPLE" || facts.S3.Secret != "literal" || facts.RedisPassword != "two words" {
		t.Errorf("got %+v, %v", facts, err)
	}

	cfg.Storage.S3 = &config.S3{AccessKey: "file:/missing", SecretKey: "file:/key", CABundle: "file:/ca"}
	cfg.Cache.Redis = config.Redis{Address: "10.0.0.7:6379", Password: "cred:missing", TLS: true, CABundle: "file:/ca"}
	_, _, err = r.Facts(cfg, secrets.Kept{})
	want := `storage.s3.accessKey: cannot read /missing: no such file or directory
storage.s3.secretKey: must be the key alone, without a space or a line break
storage.s3.caBundle: it holds no PEM certificate
cache.redis.password: cannot read credential missing: no such file or directory
cache.redis.caBundle: it holds no PEM certificate`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}

	cfg.Storage.S3 = &config.S3{IAMRole: true}
	cfg.Cache = config.Cache{Type: "memory", Redis: cfg.Cache.Redis}
	if facts, _, err := r.Facts(cfg, secrets.Kept{}); err != nil || facts.S3.Access != "" || facts.RedisPassword != "" {
		t.Errorf("got %+v, %v", facts, err)
	}
}

// What is kept elsewhere for endpoints is held to the rules of the document, and no message
// shows it.
func TestEndpoints(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"url": "https://ci.example.com/hook?key=hunter2\n", "secret": "0123456789abcdef\n", "token": "Bearer hunter2",
		"open": "http://hunter2@192.0.2.7/", "short": "hunter2", "lines": "Bearer\rhunter2",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := secrets.Resolver{Root: root, Credentials: root}
	cfg := users()
	cfg.Notifications = []config.Notification{{Name: "ci", URL: "file:/url", Secret: "cred:secret", Authorization: "file:/token"}}
	facts, _, err := r.Facts(cfg, secrets.Kept{})
	if want := (render.Endpoint{URL: "https://ci.example.com/hook?key=hunter2", Secret: "0123456789abcdef", Authorization: "Bearer hunter2"}); err != nil ||
		len(facts.Endpoints) != 1 || !reflect.DeepEqual(facts.Endpoints[0], want) {
		t.Errorf("got %+v, %v", facts.Endpoints, err)
	}
	cfg.Notifications = append(cfg.Notifications, config.Notification{Name: "b", URL: "file:/open", Secret: "file:/short", Authorization: "file:/lines", CABundle: "file:/url"})
	_, _, err = r.Facts(cfg, secrets.Kept{})
	want := `notifications[1].url: must have no user and no password in it: put them into authorization
notifications[1].secret: too short: at least 16 characters, such as openssl rand -hex 32 prints
notifications[1].authorization: a header value has no line break and no control character
notifications[1].caBundle: it holds no PEM certificate`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}
