package bucket

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// stack adds to each request of the SDK.
func stack(s Settings) []func(*middleware.Stack) error {
	agent := strings.TrimSpace("redoubt " + s.UserAgent)
	return []func(*middleware.Stack) error{
		func(st *middleware.Stack) error {
			return st.Build.Add(middleware.BuildMiddlewareFunc("UserAgentOfOurs", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
				if r, ok := in.Request.(*smithyhttp.Request); ok {
					r.Header.Set("User-Agent", agent)
				}
				return next.HandleBuild(ctx, in)
			}), middleware.After)
		},
	}
}

// unsigned leaves the body out of the signature, over http too: its CRC32C or
// MD5 is a signed header, and a SHA-256 more for each byte would cost half of
// what the registry may use.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// withMD5 sends a Content-MD5, which older stores ask for where the SDK sends a
// newer checksum.
func withMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(st *middleware.Stack) error {
		for _, id := range []string{"AWSChecksum:SetupInputContext", "AWSChecksum:ComputeInputPayloadChecksum"} {
			_, _ = st.Initialize.Remove(id)
			_, _ = st.Finalize.Remove(id)
		}
		return st.Build.Add(middleware.BuildMiddlewareFunc("ContentMD5OfOurs", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			r, ok := in.Request.(*smithyhttp.Request)
			if !ok {
				return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("unknown transport %T", in.Request)
			}
			if stream := r.GetStream(); stream != nil {
				h := md5.New()
				if _, err := io.Copy(h, stream); err != nil {
					return middleware.BuildOutput{}, middleware.Metadata{}, err
				}
				if err := r.RewindStream(); err != nil {
					return middleware.BuildOutput{}, middleware.Metadata{}, err
				}
				r.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(h.Sum(nil)))
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	})
}

// noteDate keeps the Date of the answer, whatever the answer is.
func noteDate(at *time.Time) func(*s3.Options) {
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(st *middleware.Stack) error {
			return st.Deserialize.Add(middleware.DeserializeMiddlewareFunc("DateOfOurs", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
				out, metadata, err := next.HandleDeserialize(ctx, in)
				if r, ok := out.RawResponse.(*smithyhttp.Response); ok && r != nil && r.Response != nil {
					if t, parseErr := http.ParseTime(r.Header.Get("Date")); parseErr == nil {
						*at = t
					}
				}
				return out, metadata, err
			}), middleware.After)
		})
	}
}

// moveTo lets a presigned address begin with another scheme and host.
func moveTo(origin string) func(*middleware.Stack) error {
	return func(st *middleware.Stack) error {
		return st.Finalize.Insert(middleware.FinalizeMiddlewareFunc("OriginOfOurs", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				scheme, host, _ := strings.Cut(origin, "://")
				r.URL.Scheme, r.URL.Host, r.Host = scheme, host, host
			}
			return next.HandleFinalize(ctx, in)
		}), "ResolveEndpointV2", middleware.After)
	}
}
