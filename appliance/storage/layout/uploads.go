package layout

import "strings"

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
	_, ok := blobAt(p)
	return ok
}
