package blobcache

import (
	"encoding/json"

	"github.com/distribution/distribution/v3/registry/storage/cache"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// version is that of the values. The keys have none: a deletion must reach
	// the values of all versions.
	version   = 2    // since blobs and manifests are apart
	maxValue  = 1024 // bytes that are read of a value
	tombstone = "-"
)

// value is a descriptor with what it takes to be believed.
type value struct {
	Version    int           `json:"v"`
	Epoch      string        `json:"e,omitempty"`
	Run        string        `json:"r"`
	Descriptor v1.Descriptor `json:"d"`
}

// read returns the descriptor of dgst in text, if it can be believed.
func read(text, epoch, run string, dgst digest.Digest) (v1.Descriptor, bool) {
	var v value
	if json.Unmarshal([]byte(text), &v) != nil || v.Version != version || v.Epoch != epoch || v.Run != run {
		return v1.Descriptor{}, false
	}
	d := v.Descriptor
	if cache.ValidateDescriptor(d) != nil || d.Digest.Algorithm() == dgst.Algorithm() && d.Digest != dgst || empty(dgst, d) {
		return v1.Descriptor{}, false
	}
	return d, true
}

// stale says whether what is there may give way to the value text: it is of
// another epoch, run or version, or no value at all.
func stale(there, text string) bool {
	var old, now value
	if there == tombstone {
		return false
	}
	if json.Unmarshal([]byte(there), &old) != nil || json.Unmarshal([]byte(text), &now) != nil {
		return true
	}
	return old.Version != now.Version || old.Epoch != now.Epoch || old.Run != now.Run
}
