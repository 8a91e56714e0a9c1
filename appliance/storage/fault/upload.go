package fault

import "github.com/distribution/distribution/v3/registry/api/errcode"

// An upload has one writer at a time, on each storage.
var (
	// UploadEnded is for who comes after the end of an upload.
	UploadEnded = errcode.ErrorCodeBlobUploadUnknown.WithDetail("the upload has ended: begin another one")
	// UploadTaken is for who writes after another request has.
	UploadTaken = errcode.ErrorCodeRangeInvalid.WithDetail("another request has written to this upload: ask where it stands, and go on from there")
)
