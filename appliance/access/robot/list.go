package robot

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Object is what the list of robots is called in the state that machines share.
const Object = "robots"

// MaxListed bounds the list, which every machine has in memory.
const MaxListed = 5000

// format is the version of the list as it is written.
const format = 1

type document struct {
	Format int     `json:"format"`
	Robots []Robot `json:"robots"`
}

// EncodeList writes a list.
func EncodeList(list []Robot) ([]byte, error) {
	if len(list) > MaxListed {
		return nil, fmt.Errorf("cannot keep more than %d tokens: revoke those that are over", MaxListed)
	}
	return json.Marshal(document{format, list})
}

// ParseList reads a list; no bytes are an empty one. A robot that cannot be used as it was
// meant makes the whole list unusable: what limits it may be what is not understood.
func ParseList(data []byte) ([]Robot, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, errors.New("cannot read the list of robots: it is damaged")
	}
	if d.Format != format {
		return nil, fmt.Errorf("cannot read the list of robots: it has the format %d, and this version knows %d", d.Format, format)
	}
	for _, r := range d.Robots {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("cannot read the list of robots: %w", err)
		}
	}
	return d.Robots, nil
}
