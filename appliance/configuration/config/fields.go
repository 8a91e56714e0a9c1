package config

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[Secret]()
)

// field is one key of a struct: its name in YAML and its type.
type field struct {
	key   string
	index int
	typ   reflect.Type
}

// fieldsOf lists the keys of a struct in the order of its declaration. Inline
// structs are unfolded; an untagged field has its name in lower case, as YAML
// libraries have it.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case slices.Contains(strings.Split(options, ","), "inline"):
			fields = append(fields, fieldsOf(f.Type)...)
		case name == "":
			fields = append(fields, field{strings.ToLower(f.Name), i, f.Type})
		default:
			fields = append(fields, field{name, i, f.Type})
		}
	}
	return fields
}

// checkedAs is the type a value is checked against. Where distribution takes
// any map, it is our list of the options that distribution reads.
func checkedAs(t reflect.Type, path string) reflect.Type {
	switch {
	case path == "registry" && t.Kind() == reflect.Map:
		return reflect.TypeFor[configuration.Configuration]()
	case t == reflect.TypeFor[configuration.Storage]():
		return reflect.TypeFor[storageOptions]()
	}
	return t
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func mapKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// synonyms are what other programs call what we have a word for.
var synonyms = map[string]string{
	"letsencrypt": "acme", "lets-encrypt": "acme", "certbot": "acme", "zerossl": "acme", "auto": "acme",
	"self-signed": "internal-ca", "selfsigned": "internal-ca", "internal": "internal-ca", "own": "internal-ca",
	"manual": "files", "provided": "files", "inmemory": "memory", "require": "required",
}

// suggest is ` (did you mean "…"?)` for the known word nearest to got, or
// nothing when none is near.
func suggest(got string, known []string) string {
	if word := synonyms[strings.ToLower(got)]; slices.Contains(known, word) {
		return ` (did you mean "` + word + `"?)`
	}
	if word := nearest(got, known); word != "" {
		return ` (did you mean "` + word + `"?)`
	}
	return ""
}

func nearest(got string, known []string) string {
	if len(got) > 64 {
		return ""
	}
	word, least := "", max(1, len(got)/3)+1
	for _, k := range known {
		if max(len(got), len(k))-min(len(got), len(k)) >= least {
			continue
		}
		if d := distance(strings.ToLower(got), strings.ToLower(k)); d < least {
			word, least = k, d
		}
	}
	return word
}

// distance is how many letters to put in, take out, replace or swap with the
// next to make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
