package front

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/redoubt-registry/redoubt/appliance/registry/referrers"
	"github.com/redoubt-registry/redoubt/appliance/registry/route"
)

// manifest is the body of a manifest that is put. It is checked when the application
// begins to read it, which is after the login.
type manifest struct {
	io.ReadCloser
	length  int64 // as announced; -1: not at all
	refuse  func(*route.Refusal)
	content *bytes.Reader // nil: nothing is read yet
	subject digest.Digest // what it refers to; empty: nothing
}

// errRefused is why the application cannot read a body. The client is told more.
var errRefused = errors.New("the manifest is refused")

func (m *manifest) Read(p []byte) (int, error) {
	if m.content == nil {
		data, err := m.read()
		if err != nil {
			return 0, err
		}
		m.content = bytes.NewReader(data)
	}
	return m.content.Read(p)
}

// read reads all of it, or notes why it is refused.
func (m *manifest) read() ([]byte, error) {
	var data []byte
	if m.length <= route.MaxManifest {
		var err error
		if data, err = io.ReadAll(io.LimitReader(m.ReadCloser, route.MaxManifest+1)); err != nil {
			return nil, err
		}
	}
	if m.length > route.MaxManifest || len(data) > route.MaxManifest {
		// A client that is still sending would not see the answer.
		_, _ = io.CopyN(io.Discard, m.ReadCloser, 4*route.MaxManifest)
		m.refuse(route.TooLarge)
		return nil, errRefused
	}
	// What is no JSON at all is the application's to refuse.
	var head struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	m.subject = referrers.Subject(data)
	if err := json.Unmarshal(data, &head); err == nil && head.SchemaVersion != 2 {
		m.refuse(route.BadSchema)
		return nil, errRefused
	}
	return data, nil
}
