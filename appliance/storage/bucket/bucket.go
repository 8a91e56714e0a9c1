// Package bucket speaks to one bucket of an S3-compatible store. Every wait in
// it has an end, and what it tries again it recognises when the first attempt
// had succeeded and only its answer was lost.
package bucket

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// Bucket is one bucket, or what is under Root in it: keys are relative to that.
// It may be used by many at once.
type Bucket struct {
	settings Settings
	client   *s3.Client
	worker   *s3.Client // for what the store has work with before it answers
	patience patience
	md5      atomic.Bool // the store does not take CRC32C
	lacks    lacks
}

// Open makes a Bucket. It asks the network nothing.
func Open(s Settings, creds aws.CredentialsProvider) (*Bucket, error) {
	quick, err := newTransport(s, answerTimeout)
	if err != nil {
		return nil, err
	}
	patient, err := newTransport(s, 0)
	if err != nil {
		return nil, err
	}
	return &Bucket{settings: s, client: newClient(s, creds, quick), worker: newClient(s, creds, patient)}, nil
}

func newClient(s Settings, creds aws.CredentialsProvider, transport http.RoundTripper) *s3.Client {
	return s3.New(s3.Options{
		Region:       s.Region,
		Credentials:  creds,
		HTTPClient:   &http.Client{Transport: transport, CheckRedirect: noRedirect},
		Retryer:      aws.NopRetryer{}, // see retry.go
		UsePathStyle: s.PathStyle,
		BaseEndpoint: optional(s.Endpoint),
		EndpointOptions: s3.EndpointResolverOptions{
			UseDualStackEndpoint: state(s.DualStack, aws.DualStackEndpointStateEnabled),
			UseFIPSEndpoint:      state(s.FIPS, aws.FIPSEndpointStateEnabled),
		},
		UseAccelerate:                s.Accelerate,
		DisableS3ExpressSessionAuth:  aws.Bool(true),
		ContinueHeaderThresholdBytes: -1, // a round trip for each part
		RequestChecksumCalculation:   aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:   aws.ResponseChecksumValidationWhenRequired,
		APIOptions:                   stack(s),
	})
}

// OpenDefault makes a Bucket from distribution's parameters, with the
// credentials of the standard places.
func OpenDefault(params map[string]any) (*Bucket, error) {
	s, err := FromParameters(params)
	if err != nil {
		return nil, err
	}
	creds, err := Credentials(params, CredentialFile(), paths.RoleSocket)
	if err != nil {
		return nil, err
	}
	return Open(s, creds)
}

// Settings are what the Bucket was opened with.
func (b *Bucket) Settings() Settings { return b.settings }

// String names the bucket for messages.
func (b *Bucket) String() string {
	at := b.settings.Endpoint
	if at == "" {
		at = b.settings.Region
	}
	return fmt.Sprintf("%s at %s", b.settings.Bucket, at)
}

// noRedirect: a redirect would lead to another region, with a signature for
// this one. The answer itself says what is wrong.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// key is an object's name in the store.
func (b *Bucket) key(name string) *string {
	name = strings.TrimPrefix(name, "/")
	if b.settings.Root != "" {
		name = b.settings.Root + "/" + name
	}
	return &name
}

// name is the reverse of key.
func (b *Bucket) name(key string) string {
	if b.settings.Root == "" {
		return key
	}
	return strings.TrimPrefix(key, b.settings.Root+"/")
}

func (b *Bucket) bucket() *string { return &b.settings.Bucket }

// encryption is how new objects are encrypted.
func (b *Bucket) encryption() (types.ServerSideEncryption, *string) {
	switch {
	case !b.settings.Encrypt:
		return "", nil
	case b.settings.KMSKeyID == "":
		return types.ServerSideEncryptionAes256, nil
	}
	return types.ServerSideEncryptionAwsKms, &b.settings.KMSKeyID
}

// Time is the store's clock.
func (b *Bucket) Time(ctx context.Context) (time.Time, error) {
	var at time.Time
	err := b.do(ctx, "ask", "", func(ctx context.Context, _ int) error {
		out, err := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: b.bucket()}, noteDate(&at))
		_ = out
		if err != nil && !at.IsZero() && kindOf(err) != ErrUnavailable {
			return nil // an answer all the same
		}
		return err
	})
	if err == nil && at.IsZero() {
		return at, &Error{Op: "ask", Err: fmt.Errorf("the store sends no Date")}
	}
	return at, err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func state[T any](on bool, enabled T) (s T) {
	if on {
		return enabled
	}
	return s
}
