package bucket

import "errors"

// Passing tells of an error that waiting may mend: the store is away, or cannot
// be reached. What is wrong with TLS or with the clock stays until somebody
// mends it.
func Passing(err error) bool {
	switch code(err) {
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return false
	}
	return errors.Is(err, ErrUnavailable) && explainTrust(err) == nil
}
