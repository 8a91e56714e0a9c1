package scrub

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Fault is something that is wrong in the storage.
type Fault struct {
	Kind       Kind          `json:"kind"`
	Repository string        `json:"repository,omitempty"`
	Tags       []string      `json:"tags,omitempty"`     // of the image that it is a part of
	Manifest   digest.Digest `json:"manifest,omitempty"` // that needs Digest
	Digest     digest.Digest `json:"digest,omitempty"`
	Message    string        `json:"message"`
	Do         string        `json:"do"`
	Warning    bool          `json:"warning,omitempty"` // pulls work, or no tag leads to it
}

// Kind is what is wrong.
type Kind string

// The kinds of faults.
const (
	Damaged    Kind = "damaged"    // a blob's bytes have another digest
	Unreadable Kind = "unreadable" // the storage cannot read it
	Missing    Kind = "missing"    // a blob is not there
	Unlinked   Kind = "unlinked"   // it is there, but not in the repository
	Link       Kind = "link"       // a link's file is damaged
	Manifest   Kind = "manifest"   // a manifest cannot be used
	Subject    Kind = "subject"    // the image of a signature or attestation is gone
)

// shown is how many tags a line names at most.
const shown = 5

func (f Fault) String() string {
	var b strings.Builder
	if f.Warning {
		b.WriteString("warning: ")
	}
	if f.Repository != "" {
		b.WriteString(f.Repository)
		tags := f.Tags
		if len(tags) > shown {
			tags = append(tags[:shown:shown], fmt.Sprintf("… (%d tags)", len(f.Tags)))
		}
		if len(tags) > 0 {
			b.WriteString(":" + strings.Join(tags, ","))
		}
		if f.Manifest != "" {
			b.WriteString("@" + string(f.Manifest))
		}
		b.WriteString(": ")
	}
	return b.String() + f.Message + "; " + f.Do
}
