package main

import (
	"encoding/json"
	"io"
)

// printJSON is what --json prints: a value, indented by two.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
