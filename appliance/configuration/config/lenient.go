package config

import (
	"reflect"
	"regexp"
	"strings"
)

// truths are the words of YAML 1.1 for a truth value, which the stock registry takes
// ("Boolean Language-Independent Type for YAML Version 1.1").
var truths = map[string]string{"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}

// lenient says that a path is in the stock registry's own words: there a value of another
// type is taken as the stock registry takes it, if its meaning is plain.
func lenient(path string) bool {
	_, ok := inOverlay(path)
	return ok || variableText.MatchString(path)
}

var variableText = regexp.MustCompile(`^environment\[\d+\]\.value$`)

// example shows an item of a list whose items are groups.
func example(elem reflect.Type) string {
	if elem.Kind() != reflect.Struct {
		return ""
	}
	var parts []string
	for i := range elem.NumField() {
		if f := elem.Field(i); strings.HasPrefix(f.Tag.Get("jsonschema"), "required") {
			parts = append(parts, strings.Split(f.Tag.Get("yaml"), ",")[0]+": …")
		}
	}
	if parts == nil {
		return ""
	}
	return ", such as [{" + strings.Join(parts, ", ") + "}]"
}
