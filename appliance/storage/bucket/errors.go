package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// What an error of this package is, by errors.Is.
var (
	// ErrNotFound: there is no such object, or no such upload.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a condition of a Put does not hold.
	ErrConflict = errors.New("it has changed")
	// ErrFull: the store takes no more data.
	ErrFull = errors.New("the store is full")
	// ErrUnavailable: the store does not answer, or says that it cannot; a
	// later attempt may succeed.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrDenied: the store refuses the credentials, or what they may do.
	ErrDenied = errors.New("the store refuses access")
	// errRange: the object is shorter than what was asked for.
	errRange = errors.New("beyond the end")
)

// Error is the failure of one call.
type Error struct {
	Op, Key string
	Err     error // of the SDK or the network
	kind    error
}

func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("cannot %s the bucket: %s", e.Op, brief(e.Err))
	}
	return fmt.Sprintf("cannot %s %s in the bucket: %s", e.Op, e.Key, brief(e.Err))
}

// Unwrap gives what the error is and what caused it.
func (e *Error) Unwrap() []error {
	if e.kind == nil {
		return []error{e.Err}
	}
	return []error{e.kind, e.Err}
}

// brief is an error without the SDK's words around it.
func brief(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		if api.ErrorMessage() == "" {
			return fmt.Sprintf("the store answered %d %s", status(err), api.ErrorCode())
		}
		return fmt.Sprintf("the store answered %d %s: %s", status(err), api.ErrorCode(), api.ErrorMessage())
	}
	var op *smithy.OperationError
	if errors.As(err, &op) {
		err = op.Err
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return fmt.Sprintf("the store answered %d: %v", response.HTTPStatusCode(), response.Err)
	}
	var send *smithyhttp.RequestSendError
	if errors.As(err, &send) {
		err = send.Err
	}
	return err.Error()
}

// status is the HTTP status that an error came with, 0 for none.
func status(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
	}
	return 0
}

// code is the store's own name for an error, "" for none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// kindOf classifies what a call failed with.
func kindOf(err error) error {
	if e, ok := errors.AsType[*roleError](err); ok {
		return e.kind()
	}
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		if e.Denied() {
			return ErrDenied
		}
		return ErrUnavailable
	}
	switch code(err) {
	case "NoSuchKey", "NotFound", "NoSuchUpload":
		return ErrNotFound
	case "NoSuchBucket":
		return nil // no object is missing: the configuration is wrong
	case "PreconditionFailed", "ConditionalRequestConflict":
		return ErrConflict
	case "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientCapacity", "InsufficientStorage", "ServiceQuotaExceededException":
		return ErrFull
	case "InvalidRange":
		return errRange
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "OperationAborted",
		"XMinioServerNotInitialized", "XMinioReadQuorum", "XMinioWriteQuorum", "ExpiredToken", "RequestTimeTooSkewed":
		return ErrUnavailable
	case "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccountProblem", "AllAccessDisabled":
		return ErrDenied
	}
	switch s := status(err); {
	case s == http.StatusNotFound:
		return ErrNotFound
	case s == http.StatusPreconditionFailed || s == http.StatusConflict:
		return ErrConflict
	case s == http.StatusInsufficientStorage:
		return ErrFull
	case s == http.StatusRequestedRangeNotSatisfiable:
		return errRange
	case s == http.StatusForbidden || s == http.StatusUnauthorized:
		return ErrDenied
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s >= 500 && s != http.StatusNotImplemented:
		return ErrUnavailable
	case s >= 200 && s < 300 && code(err) == "": // cut in the middle of the answer
		return ErrUnavailable
	case s != 0:
		return nil
	}
	if network(err) {
		return ErrUnavailable
	}
	return nil
}

// network tells whether no answer came at all.
func network(err error) bool {
	var send *smithyhttp.RequestSendError
	var netErr net.Error
	var op *net.OpError
	return errors.As(err, &send) || errors.As(err, &netErr) || errors.As(err, &op) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errStalled) || errors.Is(err, errCut)
}
