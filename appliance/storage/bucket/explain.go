package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/redoubt-registry/redoubt/appliance/outbound"
)

// Problem is what an operator can fix: the key of the configuration and what is wrong
// with it.
type Problem struct{ Key, Message string }

func (p *Problem) Error() string { return p.Key + ": " + p.Message }

// The keys that a Problem names.
const (
	keyBucket   = "storage.s3.bucket"
	keyRegion   = "storage.s3.region"
	keyEndpoint = "storage.s3.endpoint"
	keyAccess   = "storage.s3.accessKey"
	keySecret   = "storage.s3.secretKey"
	keyRole     = "storage.s3.iamRole"
	keyCABundle = "storage.s3.caBundle"
	keyKMS      = "storage.s3.kmsKeyID"
)

// Explain says which key of the configuration an error comes from and how to fix it; nil
// if it cannot tell.
func Explain(err error) *Problem {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	if e, ok := errors.AsType[*roleError](err); ok {
		return &Problem{keyRole, "no credentials of the instance's role could be had: " + e.err.Error()}
	}
	if e, ok := errors.AsType[*outbound.Error](err); ok {
		return &Problem{e.Key, e.Error()}
	}
	for _, explain := range []func(error) *Problem{explainTrust, explainAnswer, explainNetwork} {
		if p := explain(err); p != nil {
			return p
		}
	}
	return nil
}

// explainAnswer reads what the store itself says.
func explainAnswer(err error) *Problem {
	switch c := code(err); c {
	case "InvalidAccessKeyId", "InvalidAccessKeyID", "InvalidClientTokenId", "XMinioInvalidAccessKeyID":
		return &Problem{keyAccess, "the store does not know this access key: check it, and that the endpoint is the store that gave it out"}
	case "SignatureDoesNotMatch":
		return &Problem{keySecret, "the store refuses the signature: the secret key does not belong to the access key"}
	case "InvalidToken", "ExpiredToken", "ExpiredTokenException":
		return &Problem{keyRole, "the store refuses the session's token: the role's credentials have ended and no new ones came"}
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "MovedPermanently", "AuthorizationQueryParametersError":
		return wrongRegion(err)
	case "NoSuchBucket":
		return &Problem{keyBucket, "there is no such bucket at this endpoint: create it, or correct its name"}
	case "InvalidBucketName":
		return &Problem{keyBucket, "the store takes no bucket of this name"}
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return &Problem{keyEndpoint, "the clocks of this machine and of the store differ by more than 15 minutes: let this machine's clock be set (timedatectl)"}
	case "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.AccessDeniedException":
		return &Problem{keyKMS, "the store cannot use the key for encryption: check that it exists, is enabled, and may be used with these credentials"}
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return &Problem{keyAccess, "these credentials may not do this in the bucket: allow GetObject, PutObject, DeleteObject, ListBucket, ListBucketMultipartUploads, ListMultipartUploadParts and AbortMultipartUpload" + operation(err)}
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity":
		return &Problem{keyBucket, "the store is full, or the bucket's quota is used up: free room, or raise the quota"}
	}
	return explainStatus(err)
}

// explainStatus is for answers without a code, such as those to HEAD.
func explainStatus(err error) *Problem {
	switch s := status(err); {
	case s == http.StatusForbidden || s == http.StatusUnauthorized:
		return &Problem{keyAccess, "the store refuses these credentials: check accessKey and secretKey, and what they may do in the bucket"}
	case s == http.StatusMovedPermanently || s == http.StatusTemporaryRedirect:
		return wrongRegion(err)
	case s == http.StatusInsufficientStorage:
		return &Problem{keyBucket, "the store is full: free room, or raise the quota"}
	case s == http.StatusBadRequest && code(err) == "": // a TLS server's reply to plain HTTP
		return &Problem{keyEndpoint, "the endpoint does not answer as an S3 store does: if it speaks https, begin it with https://"}
	case s == http.StatusServiceUnavailable || s == http.StatusBadGateway || s == http.StatusGatewayTimeout:
		return &Problem{keyEndpoint, fmt.Sprintf("the store answers %d: it, or a proxy before it, is not ready", s)}
	case kindOf(err) == ErrFull:
		return &Problem{keyBucket, "the store is full, or the bucket's quota is used up: free room, or raise the quota"}
	}
	return nil
}

func operation(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return " (it could not " + e.Op + " an object)"
	}
	return ""
}

var expecting = regexp.MustCompile(`expecting ['"]([a-z0-9-]+)['"]`)

// wrongRegion names the right region where the store does.
func wrongRegion(err error) *Problem {
	right := ""
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		right = response.Response.Header.Get("X-Amz-Bucket-Region")
	}
	if m := expecting.FindStringSubmatch(err.Error()); right == "" && m != nil {
		right = m[1]
	}
	if right == "" {
		return &Problem{keyRegion, "the bucket is not in this region, or not at this endpoint"}
	}
	return &Problem{keyRegion, "the bucket is not in this region: it is in " + right}
}

// explainTrust reads failures of TLS.
func explainTrust(err error) *Problem {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		alert   tls.AlertError
		verify  *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return &Problem{keyCABundle, "the endpoint's certificate is of a CA that this machine does not know: put that CA's certificate here"}
	case errors.As(err, &name):
		return &Problem{keyEndpoint, "the endpoint's certificate is for another name: " + name.Error()}
	case errors.As(err, &invalid):
		return &Problem{keyEndpoint, "the endpoint's certificate is not valid: " + invalid.Error()}
	case errors.As(err, &verify):
		return &Problem{keyEndpoint, "the endpoint's certificate is refused: " + verify.Error()}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &Problem{keyEndpoint, "the endpoint does not speak TLS on this port: begin it with http://, or correct the port"}
	case strings.Contains(err.Error(), "malformed HTTP response \"\\x15"):
		return &Problem{keyEndpoint, "the endpoint speaks https, and was asked with http: begin it with https://"}
	case errors.As(err, &alert):
		return &Problem{keyEndpoint, "the endpoint refuses the TLS handshake: " + alert.Error()}
	}
	return nil
}

// nowhere tells whether the endpoint's name has no address.
func nowhere(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// explainNetwork reads failures to reach the store at all.
func explainNetwork(err error) *Problem {
	var dns *net.DNSError
	var target *url.Error
	at := "the endpoint"
	if errors.As(err, &target) {
		if u, parseErr := url.Parse(target.URL); parseErr == nil {
			at = u.Host
		}
	}
	var timeout net.Error
	switch {
	case nowhere(err) && errors.As(err, &dns):
		return &Problem{keyEndpoint, "there is no address for " + dns.Name + ": correct the endpoint (or the region that its name is made of)"}
	case errors.As(err, &dns):
		return &Problem{keyEndpoint, "the address of " + dns.Name + " cannot be asked for: check this machine's name servers"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Problem{keyEndpoint, at + " refuses the connection: nothing listens on that port, or a firewall is before it"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &Problem{keyEndpoint, "there is no way in the network to " + at}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errStalled),
		errors.As(err, &timeout) && timeout.Timeout():
		return &Problem{keyEndpoint, at + " does not answer in time"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, errCut), errors.Is(err, syscall.EPIPE):
		return &Problem{keyEndpoint, at + " cuts the connection"}
	}
	return nil
}
