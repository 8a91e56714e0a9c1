package route

import "net/http"

// Refusal is why a request cannot be done whoever asks. It has nothing of what the
// client sent.
type Refusal struct {
	Status  int
	Code    string // of the specification, "Error Codes"
	Message string
	Allow   string // the methods that the path has, for status 405
}

// Unknown refuses a path that is not there.
var Unknown = &Refusal{Status: http.StatusNotFound, Code: "UNSUPPORTED",
	Message: "there is nothing at this path"}

var (
	badName = &Refusal{Status: http.StatusBadRequest, Code: "NAME_INVALID",
		Message: "cannot use the repository's name: it must have at most 255 characters, of a-z, 0-9 and single separators . _ __ - between them, in parts divided by /"}
	badTag = &Refusal{Status: http.StatusBadRequest, Code: "TAG_INVALID",
		Message: "cannot use the tag: it must have at most 128 characters of A-Z, a-z, 0-9, . _ and -, and begin with none of . and -"}
	noSuchTag = &Refusal{Status: http.StatusNotFound, Code: badTag.Code, Message: badTag.Message}
	badDigest = &Refusal{Status: http.StatusBadRequest, Code: "DIGEST_INVALID",
		Message: "cannot use the digest: it must be sha256: with 64, or sha512: with 128 hexadecimal digits in lower case"}
	badMount = &Refusal{Status: http.StatusBadRequest, Code: "DIGEST_INVALID",
		Message: "cannot use mount: it must be the digest of a manifest, and the one that the path ends with if that is a digest"}
	badNumber = &Refusal{Status: http.StatusBadRequest, Code: "PAGINATION_NUMBER_INVALID",
		Message: "cannot use n: it must be a number"}
	badLastTag      = &Refusal{Status: http.StatusBadRequest, Code: "TAG_INVALID", Message: "cannot use last: it must be a tag"}
	badLastName     = &Refusal{Status: http.StatusBadRequest, Code: "NAME_INVALID", Message: "cannot use last: it must be a repository's name"}
	badLastDigest   = &Refusal{Status: http.StatusBadRequest, Code: "DIGEST_INVALID", Message: "cannot use last: it must be a digest"}
	tooManyTags     = &Refusal{Status: http.StatusRequestEntityTooLarge, Code: "TAG_INVALID", Message: "cannot take the manifest: at most 100 tags can be given with it"}
	badContentRange = &Refusal{Status: http.StatusBadRequest, Code: "BLOB_UPLOAD_INVALID",
		Message: "cannot use Content-Range: it must be BEGIN-END, such as 0-1023"}
	unknownUpload = &Refusal{Status: http.StatusNotFound, Code: "BLOB_UPLOAD_UNKNOWN",
		Message: "there is no such upload"}
)

// TooLarge refuses a manifest of more than MaxManifest bytes.
var TooLarge = &Refusal{Status: http.StatusRequestEntityTooLarge, Code: "MANIFEST_INVALID",
	Message: "cannot take the manifest: it is larger than 4 MiB"}

// MaxManifest is the most bytes of a manifest; the specification asks for at least
// as many.
const MaxManifest = 4 << 20

// BadSchema refuses a manifest of another schema than the second.
var BadSchema = &Refusal{Status: http.StatusBadRequest, Code: "MANIFEST_INVALID",
	Message: "cannot take the manifest: its schemaVersion must be 2"}

// Refusals of a manifest that is put by a reference to another repository.
var (
	NoMount = &Refusal{Status: http.StatusMethodNotAllowed, Code: "UNSUPPORTED",
		Message: "cannot take a manifest by reference here: push it"}
	MountHasBody = &Refusal{Status: http.StatusBadRequest, Code: "MANIFEST_INVALID",
		Message: "cannot take the manifest: with mount the request has no body"}
	NoSuchMount = &Refusal{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN",
		Message: "the repository that from names has no such manifest"}
	MountNotWhole = &Refusal{Status: http.StatusNotFound, Code: "MANIFEST_BLOB_UNKNOWN",
		Message: "the repository that from names does not have all that the manifest needs"}
	MountTooLarge = &Refusal{Status: http.StatusRequestEntityTooLarge, Code: "MANIFEST_INVALID",
		Message: "cannot take so many manifests at once: mount those that the index lists one by one"}
)

// NotAccepted answers a request for a manifest of other types than the stored one.
var NotAccepted = &Refusal{Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN",
	Message: "the manifest is of a type that the request's Accept does not name"}

func notAllowed(allowed string) *Refusal {
	return &Refusal{Status: http.StatusMethodNotAllowed, Code: "UNSUPPORTED",
		Message: "cannot do that here: this path takes " + allowed, Allow: allowed}
}
