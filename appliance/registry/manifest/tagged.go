package manifest

import (
	"os"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	// maxTagged is how many tags' files are remembered.
	maxTagged = 4096
	// settled is how old a file must be before its stamp is trusted: two versions that
	// were written within a tick of the file system's clock have the same.
	settled = 2 * time.Second
)

// tagged remembers what the files of tags say, as long as they are the same files: to look
// at one is one call of the system, to read it are five.
type tagged struct {
	settled time.Duration
	known   *lru.Cache[string, tag]
}

// tag is what a file said.
type tag struct {
	stamp  files.Stamp
	digest digest.Digest
}

func newTagged() *tagged {
	known, _ := lru.New[string, tag](maxTagged) // fails for sizes below one
	return &tagged{settled: settled, known: known}
}

// read is what the file at path says now; not ok where it says no digest.
func (t *tagged) read(path string) (dgst digest.Digest, ok bool) {
	stamp, err := files.StampOf(path)
	if err != nil {
		return "", false
	}
	if was, ok := t.known.Get(path); ok && was.stamp == stamp {
		return was.digest, true
	}
	data, err := os.ReadFile(path)
	dgst = digest.Digest(data)
	if err != nil || dgst.Validate() != nil {
		return "", false
	}
	if time.Since(stamp.Changed) >= t.settled {
		t.known.Add(path, tag{stamp: stamp, digest: dgst})
	}
	return dgst, true
}
