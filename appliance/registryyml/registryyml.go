// Package registryyml reads registry.yml, the registry's configuration in distribution's
// own words. Its errors say line and key, and never a value, which may be a secret.
package registryyml

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v2"
)

// Read reads what stands in the file, which need not be whole. Keys that distribution does
// not know are passed over.
func Read(data []byte) (*configuration.Configuration, error) {
	return read(func(c *configuration.Configuration) error { return yaml.Unmarshal(data, c) })
}

// ReadStrict is Read for what is to become the file: a key that distribution does not know
// is an error.
func ReadStrict(data []byte) (*configuration.Configuration, error) {
	return read(func(c *configuration.Configuration) error { return yaml.UnmarshalStrict(data, c) })
}

// ReadServed reads the file as what is to be served: with REGISTRY_* of the environment
// laid on it, with distribution's defaults, and whole.
func ReadServed(data []byte) (*configuration.Configuration, error) {
	return read(func(c *configuration.Configuration) error {
		served, err := configuration.Parse(bytes.NewReader(data))
		if err == nil {
			*c = *served
		}
		return err
	})
}

func read(into func(*configuration.Configuration) error) (c *configuration.Configuration, err error) {
	defer func() {
		if recover() != nil { // distribution panics on some mistakes, and may say a value
			c, err = nil, errors.New("it is not the configuration of a registry")
		}
	}()
	c = new(configuration.Configuration)
	if err := into(c); err != nil {
		return nil, masked(err)
	}
	_ = c.Storage.Type() // panics for more than one, which no caller should have to know
	return c, nil
}

// values are where package yaml, strconv and distribution show a value in an error.
var values = []struct {
	shown   *regexp.Regexp
	instead string
}{
	{regexp.MustCompile("(?s)`.*`"), "a value"},
	{regexp.MustCompile(`(?s)".*"`), "a value"},
	{regexp.MustCompile(`(?s)anchor '.*'`), "anchor"},
	{regexp.MustCompile(`(?s)(invalid (?:loglevel|platforms option|ClientAuth)) .*( Must be one of)`), "$1:$2"},
	{regexp.MustCompile(`(?s)\. Provided: .*`), ""},
}

// masked is the error without the values of the document.
func masked(err error) error {
	lines := []string{err.Error()}
	several, ok := errors.AsType[*yaml.TypeError](err)
	if ok {
		lines = slices.Clone(several.Errors)
	}
	for i := range lines {
		for _, v := range values {
			lines[i] = v.shown.ReplaceAllString(lines[i], v.instead)
		}
	}
	if ok {
		return errors.New("yaml: unmarshal errors:\n  " + strings.Join(lines, "\n  "))
	}
	return errors.New(lines[0])
}
