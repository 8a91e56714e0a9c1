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
	name, rest, found := strings.Cut(below(Repositories, p), "/"+Revisions+"/")
	if !found || !strings.HasPrefix(p, Repositories+"/") {
		return "", "", false
	}
	l, ok := linkAt(Revisions, rest)
	return name, l.Digest, ok
}
