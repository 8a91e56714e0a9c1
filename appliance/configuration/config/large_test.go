//go:build integration

package config

import (
	"strings"
	"testing"
)

// It takes seconds to read what is as large as a document may be.
func TestLargeLayerIsRefused(t *testing.T) {
	_, _, report := Parse([]Layer{{Name: "user-data", Data: make([]byte, maxSize+1)}})
	if got := report.String(); got != "user-data: too large: at most 1 MiB is read\n" {
		t.Error(got)
	}
	for data, want := range map[string]string{
		"redoubt: {aliases: [" + strings.Repeat("a,", maxValues) + "]}": "user-data:1:10: too large: at most 20000 values are read\n",
		"redoubt:\n  hostname: \xff\n":                                  "user-data:2:13: not UTF-8: save the file as UTF-8 text\n",
		"redoubt:\n  a: é\x00\n":                                        "user-data:2:7: holds a zero byte: this is not text\n",
	} {
		if _, _, report := Parse([]Layer{{Name: "user-data", Data: []byte(data)}}); report.String() != want {
			t.Errorf("%q: %s", data, report)
		}
	}
}
