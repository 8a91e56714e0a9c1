package renewal

import (
	"encoding/json"
	"time"
)

// Summary is what is known of the renewal. It holds no secret.
type Summary struct {
	Mode      string    `json:"mode"`
	NotBefore time.Time `json:"notBefore,omitzero"` // of the certificate in force
	NotAfter  time.Time `json:"notAfter,omitzero"`
	Fallback  bool      `json:"fallback,omitempty"` // the own CA's serves, since there is no other
	Looked    time.Time `json:"looked,omitzero"`    // when the renewer last ran
	Tried     time.Time `json:"tried,omitzero"`     // when a certificate was last asked for
	Succeeded time.Time `json:"succeeded,omitzero"` // when one was last obtained
	Next      time.Time `json:"next,omitzero"`      // when something will be due, a question to the CA too
	Why       string    `json:"why,omitempty"`      // it will be due then
	Plan                // when the certificate is renewed
	Failures  int       `json:"failures"`        // in a row
	Since     time.Time `json:"since,omitzero"`  // of the first of them
	Error     string    `json:"error,omitempty"` // of the last of them, or of this run
	Alert     string    `json:"alert,omitempty"` // the reason for an alert, or empty
}

// Marshal is the summary as its file.
func (s Summary) Marshal() ([]byte, error) { return json.MarshalIndent(s, "", "  ") }
