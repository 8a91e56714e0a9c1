package blobcache

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Prefix is what the keys of a storage begin with in a shared Redis, from what
// distribution's own storage section says of it. Machines on one bucket have the
// same, and must name it by the same endpoint. A file system is of one machine.
// Garbage collection may remove all keys with the prefix, as anybody may.
func Prefix(storage configuration.Storage) string {
	params := storage.Parameters()
	text := func(name string) string {
		s, _ := params[name].(string)
		return s
	}
	var names []string
	switch kind := storage.Type(); kind {
	case "s3", "s3aws":
		root := strings.Trim(path.Clean("/"+text("rootdirectory")), "/")
		names = []string{"s3", endpoint(text("regionendpoint")), text("bucket"), root}
	case "filesystem":
		id, err := os.ReadFile(paths.MachineID)
		if err != nil {
			id = []byte(rand.Text()) // nobody shares then
		}
		names = []string{kind, strings.TrimSpace(string(id)), path.Clean(text("rootdirectory"))}
	default:
		names = []string{kind, rand.Text()}
	}
	return fmt.Sprintf("redoubt:%.16x:", sha256.Sum256([]byte(strings.Join(names, "\x00"))))
}

// endpoint is the same for all ways to write one URL. Empty is the cloud's own.
func endpoint(s string) string {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"https": ":443", "http": ":80"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return host + strings.TrimSuffix(u.Path, "/")
}
