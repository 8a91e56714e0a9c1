//go:build integration

package render_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// TestRedisTakesItsConfiguration starts the real server on the rendered file, in
// a directory of the test, and tries what the registry needs and what nobody may.
func TestRedisTakesItsConfiguration(t *testing.T) {
	cfg, _, report := config.Parse([]config.Layer{{Name: "user-data", Data: []byte("hostname: a.example.com\n")}})
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	files, err := render.Tree(cfg, render.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	file, _ := files.Lookup(paths.RedisConf)
	dir := t.TempDir()
	text := strings.ReplaceAll(string(file.Data), filepath.Dir(paths.RedisSocket), dir)
	path := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("redis-server", path)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatalf("cannot start redis-server (apt install redis-server): %v", err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()

	client := redis.NewClient(&redis.Options{Network: "unix", Addr: filepath.Join(dir, "redis.sock")})
	defer client.Close()
	for deadline := time.Now().Add(time.Minute); client.Ping(t.Context()).Err() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	for _, command := range []string{"hset k f v", "hmget k f", "sadd s m", "sismember s m", "expire k 60", "del k",
		"multi", "discard", "info memory", "dbsize", "flushdb"} {
		if err := client.Do(t.Context(), words(command)...).Err(); err != nil && err != redis.Nil && command != "discard" {
			t.Errorf("%s: %v", command, err)
		}
	}
	for _, command := range []string{"config get *", "config set dir /", "debug sleep 0", "shutdown nosave", "save", "bgsave",
		"module list", "eval return(1) 0", "flushall", "keys *", "monitor", "acl list", "replicaof no one", "client list", "swapdb 0 0"} {
		if err := client.Do(t.Context(), words(command)...).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "command not allowed") {
			t.Errorf("%s is allowed: %v", command, err)
		}
	}
	info, err := client.Info(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"maxmemory:67108864\r", "maxmemory_policy:allkeys-lru\r", "aof_enabled:0\r", "tcp_port:0\r"} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO lacks %q", want)
		}
	}
}

func words(command string) []any {
	var args []any
	for _, w := range strings.Fields(command) {
		args = append(args, w)
	}
	return args
}
