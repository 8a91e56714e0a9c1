package main

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// A direct PUT goes in parts as a good client sends them.
	directPart     = 16 << 20
	directParallel = 8
)

// direct puts a blob into a bucket without a registry, its parts in parallel, with
// the SDK's own defaults, and answers MB/s.
func direct(ctx context.Context, client *s3.Client, bucket, key string, blob []byte) (float64, error) {
	began := time.Now()
	created, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return 0, err
	}
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, directParallel)
		parts = make([]types.CompletedPart, (len(blob)+directPart-1)/directPart)
		errs  = make([]error, len(parts))
	)
	for n := range parts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			number, data := int32(n+1), blob[n*directPart:min(len(blob), (n+1)*directPart)]
			out, err := client.UploadPart(ctx, &s3.UploadPartInput{
				Bucket: &bucket, Key: &key, UploadId: created.UploadId, PartNumber: &number, Body: bytes.NewReader(data),
			})
			if err != nil {
				errs[n] = err
				return
			}
			parts[n] = types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC32: out.ChecksumCRC32}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: created.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return float64(len(blob)) / 1e6 / time.Since(began).Seconds(), err
}

// empty removes everything from a bucket, so that the disk keeps room.
func empty(ctx context.Context, client *s3.Client, bucket string) error {
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if _, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key}); err != nil {
				return err
			}
		}
	}
	return nil
}
