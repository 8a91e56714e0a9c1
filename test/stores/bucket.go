package stores

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// callWait bounds what is asked of a store that is well.
const callWait = 60 * time.Second

// Client speaks to the store as its root user, and repeats nothing.
func (s *Store) Client() *s3.Client { return s.ClientAs(s.AccessKey, s.SecretKey) }

// ClientAs speaks to the store as another user.
func (s *Store) ClientAs(accessKey, secretKey string) *s3.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second}
	if s.Roots != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(s.Roots))
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:  &http.Client{Transport: transport}, Retryer: aws.NopRetryer{},
	})
}

// NewBucket makes an empty bucket and answers its name.
func (s *Store) NewBucket(t Owner) string {
	t.Helper()
	s.mu.Lock()
	s.buckets++
	name := fmt.Sprintf("bucket-%d", s.buckets)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callWait)
	defer cancel()
	if _, err := s.Client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("cannot make a bucket on %s: %v\n%s", s.Name, err, s.Log())
	}
	return name
}
