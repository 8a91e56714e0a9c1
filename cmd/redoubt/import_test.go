package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const importHash = "$2y$10$46fuOnZ0yhU7zoCppGvza.nofj4NOpWKMNvUtY5E2ICLu9wRj7g9S"

// What import prints is valid for validate, and standard error has no secret.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	compose := writeFile(t, dir, "docker-compose.yml", `services:
  registry:
    image: registry:2
    ports: ["5000:5000"]
    environment: {REGISTRY_STORAGE: s3, REGISTRY_STORAGE_S3_BUCKET: images, REGISTRY_STORAGE_S3_REGION: eu-central-1, REGISTRY_AUTH: htpasswd, REGISTRY_AUTH_HTPASSWD_PATH: /auth/users, REGISTRY_REDIS_ADDR: "redis:6379"}
    env_file: keys.env
    volumes: ["./auth:/auth"]
`)
	writeFile(t, dir, "keys.env", "REGISTRY_STORAGE_S3_ACCESSKEY=AKIAEXAMPLEEXAMPLE00\nREGISTRY_STORAGE_S3_SECRETKEY=secretvalue/secretvalue/secretvalue/1234\n")
	writeFile(t, dir, "auth/users", "nora:"+importHash+"\n")
	stdout, stderr, err := runVerb(t, importCommand(), "--hostname", "registry.example.com", compose)
	if err != nil || strings.Contains(stderr, "secretvalue") || strings.Contains(stderr, importHash) {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, line := range []string{"  hostname: registry.example.com\n", "httpsPort: 5000\n", "secretKey: secretvalue/", "nora:" + importHash, "# docker-compose.yml: not carried over: redis:"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("no %q in:\n%s", line, stdout)
		}
	}
	if !strings.Contains(stderr, "docker-compose.yml: not carried over: redis:") {
		t.Errorf("not told:\n%s", stderr)
	}
	document := filepath.Join(dir, "user-data")
	if err := os.WriteFile(document, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, err := runVerb(t, validateCommand(), document); err != nil {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

// A registry without the certificate, the client CAs and the logins that it had is
// another one: it is made only for who says so.
func TestImportOfFilesThatAreMissing(t *testing.T) {
	compose := writeFile(t, t.TempDir(), "docker-compose.yml", `services:
  registry:
    image: registry:2
    ports: ["5000:5000"]
    environment: {REGISTRY_HTTP_TLS_CERTIFICATE: /certs/cert.pem, REGISTRY_HTTP_TLS_KEY: /certs/key.pem, REGISTRY_HTTP_TLS_CLIENTCAS: "[/certs/ca.pem]", REGISTRY_AUTH: htpasswd, REGISTRY_AUTH_HTPASSWD_PATH: /certs/users}
    volumes: ["./certs:/certs"]
`)
	stdout, _, err := runVerb(t, importCommand(), "--hostname", "registry.example.com", compose)
	if err == nil || stdout != "" {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, name := range []string{"certs/cert.pem", "certs/ca.pem", "certs/users", "--incomplete"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("no %s in: %v", name, err)
		}
	}
	stdout, stderr, err := runVerb(t, importCommand(), "--incomplete", "--hostname", "registry.example.com", compose)
	if err != nil || !strings.Contains(stdout, "  hostname: registry.example.com\n") {
		t.Fatalf("%v\n%s", err, stdout)
	}
	if strings.Count(stderr, "nobody can log in") != 1 {
		t.Errorf("told once that nobody can log in?\n%s", stderr)
	}
}

// Without a valid document nothing is printed but the reasons.
func TestImportSaysWhyNot(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, dir, "config.yml", "version: 0.1\nstorage: {s3: {bucket: images, regionendpoint: 'https://s3.example.com', accesskey: secretvalue}}\nhttp: {addr: ':5000'}\n")
	stdout, stderr, err := runVerb(t, importCommand(), file)
	if err == nil || stdout != "" || strings.Contains(stderr+err.Error(), "secretvalue") {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, reason := range []string{"hostname: no FILE says how clients call the machine: add --hostname NAME", "storage.s3.secretKey: required with accessKey"} {
		if !strings.Contains(err.Error(), reason) {
			t.Errorf("no %q in: %v", reason, err)
		}
	}
	for _, name := range []string{dir, filepath.Join(dir, "missing"), "/dev/zero"} {
		if _, _, err := runVerb(t, importCommand(), name); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
