package bucket

// UploadPartWithSum sends a part with a checksum of the caller's.
var UploadPartWithSum = (*Bucket).uploadPart
