package layout

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// What is in the directory of an upload: its data, and the states of its hash.
const (
	UploadData    = "data"
	UploadStarted = "startedat"
	UploadStates  = "hashstates/"
)

// Upload tells which part of an upload a path is: the upload's directory, and
// what is in it, "" for the directory itself.
func Upload(p string) (dir, rest string, ok bool) {
	before, after, found := strings.Cut(p, "/_uploads/")
	if !found {
		return "", "", false
	}
	id, rest, _ := strings.Cut(after, "/")
	return before + "/_uploads/" + id, rest, id != ""
}

// IsBlob tells whether a path is that of a blob's bytes.
func IsBlob(p string) bool {
	_, ok := BlobAt(p)
	return ok
}

// IsRevision tells whether a path is that of the link that makes a manifest one of a
// repository.
func IsRevision(p string) bool {
	_, _, ok := RevisionAt(p)
	return ok
}

// RevisionAt is the repository and the digest of such a link.
func RevisionAt(p string) (repository string, dgst digest.Digest, ok bool) {
	return linkOf(p, Revisions)
}

func linkOf(p, part string) (repository string, dgst digest.Digest, ok bool) {
	name, rest, found := strings.Cut(below(Repositories, p), "/"+part+"/")
	if !found || !strings.HasPrefix(p, Repositories+"/") {
		return "", "", false
	}
	l, ok := linkAt(part, rest)
	return name, l.Digest, ok
}

// LayerAt is the repository and the digest of the link that makes a blob one of a
// repository.
func LayerAt(p string) (repository string, dgst digest.Digest, ok bool) {
	return linkOf(p, Layers)
}

// TagAt is the repository and the name of a tag, by its directory or by the link to what
// it points to.
func TagAt(p string) (repository, tag string, ok bool) {
	name, rest, found := strings.Cut(below(Repositories, p), "/"+Tags+"/")
	tag = strings.TrimSuffix(rest, "/current/link")
	return name, tag, found && strings.HasPrefix(p, Repositories+"/") && tag != "" && !strings.Contains(tag, "/")
}
