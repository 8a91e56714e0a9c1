package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/redoubt-registry/redoubt/test/vm"
)

// exampleData is the user-data when USER_DATA names no other, and the password of
// the one user in it.
const (
	exampleData     = "test/testdata/user-data.yaml"
	examplePassword = "correct horse"
)

// settings are what the environment of `make up` says.
type settings struct {
	dir      string // UP_DIR: where the machine lives
	userData string // USER_DATA: a file
	force    bool   // FORCE=1: boot it even if it is not valid
	port     int    // PORT: of 127.0.0.1, leads to the guest's 443
	httpPort int    // HTTP_PORT: leads to 80; 0 for none
	sshPort  int    // SSH_PORT: leads to 22; 0 for none
	shell    bool   // UP_SHELL=1: with the tests' shell
	agent    string // the program redoubt
}

func readSettings(env func(string) string) (settings, error) {
	s := settings{dir: ".cache/up", userData: exampleData, force: env("FORCE") != "", port: 8443, shell: env("UP_SHELL") != "", agent: "dist/redoubt"}
	if dir := env("UP_DIR"); dir != "" {
		s.dir = dir
	}
	if file := env("USER_DATA"); file != "" {
		s.userData = file
	}
	for name, to := range map[string]*int{"PORT": &s.port, "HTTP_PORT": &s.httpPort, "SSH_PORT": &s.sshPort} {
		text := env(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 65535 {
			return s, fmt.Errorf("cannot use %s=%s: it must be a number from 1 to 65535", name, text)
		}
		*to = n
	}
	return s, nil
}

func (s settings) forwards() []vm.Forward {
	f := []vm.Forward{{Host: s.port, Guest: 443}}
	if s.httpPort != 0 {
		f = append(f, vm.Forward{Host: s.httpPort, Guest: 80})
	}
	if s.sshPort != 0 {
		f = append(f, vm.Forward{Host: s.sshPort, Guest: 22})
	}
	return f
}

// readUserData answers the user-data, and whether the agent itself finds it valid. What is
// not is an error, unless it is forced.
func (s settings) readUserData(out io.Writer) (data []byte, valid bool, err error) {
	data, err = os.ReadFile(s.userData)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read the user-data: %w", err)
	}
	mistakes, err := exec.Command(s.agent, "validate", s.userData).CombinedOutput()
	if err == nil {
		return data, true, nil
	}
	out.Write(mistakes)
	if !s.force {
		return nil, false, fmt.Errorf("cannot boot %s: it has the mistakes above (FORCE=1 boots it all the same)", s.userData)
	}
	return data, false, nil
}

// image is the newest image in dist.
func image() (string, error) {
	found, err := filepath.Glob("dist/redoubt-*-amd64.qcow2")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("cannot find dist/redoubt-VERSION-amd64.qcow2: make image builds it")
	}
	sort.Slice(found, func(i, j int) bool { return modified(found[i]) < modified(found[j]) })
	return found[len(found)-1], nil
}

func modified(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// document is what is read here of the user-data.
type document struct {
	Redoubt struct {
		Auth struct {
			Users []struct{ Name string }
		}
		TLS struct{ Mode string }
	}
}

// firstUser is a user that the user-data lets in, or NAME.
func firstUser(userData []byte) string {
	var doc document
	if err := yaml.Unmarshal(userData, &doc); err != nil || len(doc.Redoubt.Auth.Users) == 0 {
		return "NAME"
	}
	return doc.Redoubt.Auth.Users[0].Name
}

// public tells whether a public CA is asked for the certificate.
func public(userData []byte) bool {
	var doc document
	return yaml.Unmarshal(userData, &doc) == nil && doc.Redoubt.TLS.Mode == "acme"
}

// password is how the login line gets the password: the example's is no secret.
func password(userData []byte) string {
	if example, err := os.ReadFile(exampleData); err == nil && bytes.Equal(example, userData) {
		return "echo '" + examplePassword + "' | "
	}
	return ""
}

// stdin is the option that goes with password.
func stdin(userData []byte) string {
	return strings.Repeat(" --password-stdin", min(len(password(userData)), 1))
}
