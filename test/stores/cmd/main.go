// Command cmd runs MinIO, an S3-compatible store, for a machine of `make up` until
// it is told to stop.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/redoubt-registry/redoubt/test/program"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// host is this machine's loopback as QEMU's user network shows it to a guest.
const host = "10.0.2.2"

// example is the user-data that the storage section is added to.
const example = "test/testdata/user-data.yaml"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program.Program{}
	defer p.End()
	run(ctx, p, os.Getenv("BUCKET_DIR"))
}

func run(ctx context.Context, p *program.Program, dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.Fatal(err)
	}
	data, err := os.ReadFile(example)
	if err != nil {
		p.Fatal(err)
	}
	store := stores.MinIO(p, stores.Options{TLS: true, Also: host})
	userData := filepath.Join(dir, "user-data.yaml")
	if err := os.WriteFile(userData, append(data, section(store, store.NewBucket(p))...), 0o600); err != nil {
		p.Fatal(err)
	}
	fmt.Printf(`MinIO runs on this machine's loopback, until Ctrl-C. In another terminal:

  make up USER_DATA=%s
  make down

Its data, in %s, goes when it ends.
`, userData, store.Data)
	<-ctx.Done()
}

// section makes a machine keep its images in the bucket. Clients do not reach
// the store.
func section(s *stores.Store, bucket string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `  storage:
    s3:
      bucket: %s
      endpoint: %s
      region: %s
      accessKey: %s
      secretKey: %s
      redirect: false
      caBundle: |
`, bucket, strings.Replace(s.Endpoint, "127.0.0.1", host, 1), s.Region, s.AccessKey, s.SecretKey)
	for line := range strings.Lines(s.Roots) {
		b.WriteString("        " + line)
	}
	return b.String()
}
