package config

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What stands in the place of a key may be a secret: after a comma instead of a colon,
// or when a colon is missing. So a key that nobody knows is named only if it looks like
// one.

// hiddenKey is the message for a key that is not named.
const hiddenKey = "unknown key at this place; it is not shown, since it may be a secret: is a colon missing?"

// unnamed stands for a key that is not shown in the path of what is below it.
const unnamed = "…"

const maxKey = 32 // letters

// keyWord are letters, and perhaps one dash or underscore; what is too short for a
// secret may have digits.
var keyWord = regexp.MustCompile(`^[A-Za-z]+([-_][A-Za-z]+)?$|^[A-Za-z][A-Za-z0-9]{1,3}$`)

// likeKey says whether a word looks like a key that a person meant: of letters, in
// the case of camelCase. known are the keys that may stand there.
func likeKey(word string, known []string) bool {
	if len(word) > maxKey || !keyWord.MatchString(word) {
		return false
	}
	for _, k := range known {
		rest, below := strings.CutPrefix(strings.ToLower(word), strings.ToLower(k))
		if below && rest == "" {
			return true
		}
		if below && len(rest) > len("path") { // a key and its value in one
			return false
		}
	}
	capitals := 0
	for _, r := range word {
		if r >= 'A' && r <= 'Z' {
			capitals++
		}
	}
	return capitals <= 1+len(word)/5
}

// shown is a key as a path may show it.
func shown(key string, known []string) string {
	if likeKey(key, known) {
		return key
	}
	return unnamed
}

// alone says whether a key of a flow group has no value: {key, secret}.
func alone(n *yaml.Node, value *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && value.ShortTag() == "!!null" && value.Value == ""
}
