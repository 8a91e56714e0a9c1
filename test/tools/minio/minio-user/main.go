// Command minio-user adds a user to a MinIO, who may read and write every bucket,
// or removes one: minio-user add NAME SECRET, minio-user remove NAME.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/minio/madmin-go/v3"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "minio-user:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	endpoint, err := url.Parse(os.Getenv("ENDPOINT"))
	if err != nil {
		return err
	}
	client, err := madmin.New(endpoint.Host, os.Getenv("ACCESS_KEY"), os.Getenv("SECRET_KEY"), endpoint.Scheme == "https")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(os.Getenv("ROOTS")))
	client.SetCustomTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}})
	switch {
	case len(args) == 3 && args[0] == "add":
		if err := client.AddUser(ctx, args[1], args[2]); err != nil {
			return err
		}
		_, err := client.AttachPolicy(ctx, madmin.PolicyAssociationReq{Policies: []string{"readwrite"}, User: args[1]})
		return err
	case len(args) == 2 && args[0] == "remove":
		return client.RemoveUser(ctx, args[1])
	}
	return errors.New("usage: minio-user add NAME SECRET, or remove NAME")
}
