package bucket

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// secret is the file with the credentials.
type secret struct {
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	Role      bool   `json:"role"`
}

// Credentials finds the credentials of a bucket: those of an operator's own
// parameters, else those of a file, which may send to the role's socket.
func Credentials(params map[string]any, file, socket string) (aws.CredentialsProvider, error) {
	r := reader{params: params}
	if access, key := r.text("accesskey"), r.text("secretkey"); access != "" || key != "" {
		if access == "" || key == "" {
			return nil, errors.New("cannot use storage.s3: accesskey and secretkey belong together")
		}
		return credentials.NewStaticCredentialsProvider(access, key, ""), nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot find the bucket's credentials: there is no %s; set storage.s3.accessKey and secretKey, or iamRole", file)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the bucket's credentials: %w", err)
	}
	var s secret
	if json.Unmarshal(data, &s) != nil { // its error may quote the file
		return nil, fmt.Errorf("cannot read the bucket's credentials: %s is not JSON", file)
	}
	switch {
	case s.Role:
		return newRole(socket), nil
	case s.AccessKey == "" || s.SecretKey == "":
		return nil, fmt.Errorf("cannot use the bucket's credentials: %s lacks accessKey or secretKey", file)
	}
	return credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""), nil
}

// CredentialFile is where this process finds the credentials: from systemd,
// else root's own.
func CredentialFile() string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path := filepath.Join(dir, paths.S3Credential)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return paths.S3Keys
}
