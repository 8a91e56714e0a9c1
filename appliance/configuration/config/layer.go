package config

import (
	"reflect"
	"slices"
	"strings"
)

// Layer is one source of configuration. Layers are merged as RFC 7386 has it:
// a later one wins, groups are merged, lists and values are replaced, and null
// gives a value back to its default. Lists whose items have a name are merged by it.
type Layer struct {
	// Name is what messages call it: user-data, or a file's path.
	Name string
	// Data is YAML. A document that starts with #cloud-config has the
	// configuration below its redoubt: key, and all other keys are not ours.
	// Any other document holds a redoubt: key alone, or the configuration
	// itself.
	Data []byte
	// Cloud says that Data is cloud-config even without its first line.
	Cloud bool
	// Source is what the parts of one document have in common: they are merged with
	// each other as MergeType says. Empty is the layer alone.
	Source string
	// MergeType is the header Merge-Type of a part, in cloud-init's words.
	MergeType string
	// Key, when set, makes Data the value of this one key, such as tls.mode.
	// It is how environment variables and flags become layers.
	Key string
}

// prefix is what the command line's environment variables start with.
const prefix = "REDOUBT_"

// Environment turns the REDOUBT_* variables of environ, which has the form of
// os.Environ, into layers: REDOUBT_TLS_MODE sets tls.mode. A value is YAML. It
// is for the command line; a machine's boot does not read its environment.
// A variable that names no key gives a warning.
func Environment(environ []string) ([]Layer, Report) {
	keys := map[string]string{}
	for _, path := range Keys() {
		if !strings.Contains(path, "[") {
			keys[prefix+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))] = path
		}
	}
	var layers []Layer
	var report Report
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if path, ok := keys[name]; ok {
			layers = append(layers, Layer{Name: name, Data: []byte(value), Key: path})
			continue
		}
		entry := Entry{File: name, Message: "no key has this name; it is not used", Warning: true}
		if hint := suggest(name, mapKeys(keys)); hint != "" {
			entry.Message += hint
		} else { // it may be anything
			entry.File, entry.Message = prefix+unnamed, "a variable that begins so has the name of no key; it is not used"
		}
		report = append(report, entry)
	}
	return layers, report
}

// Settings turns KEY=VALUE arguments, such as tls.mode=off, into layers. name
// is the flag they came with.
func Settings(name string, arguments []string) ([]Layer, Report) {
	var layers []Layer
	var report Report
	for _, argument := range arguments {
		key, value, ok := strings.Cut(argument, "=")
		switch {
		case !ok:
			report = append(report, Entry{File: name, Message: "write KEY=VALUE, such as tls.minVersion=1.3"})
		case !slices.Contains(Keys(), key) || strings.Contains(key, "["):
			report = append(report, unknownSetting(name, key))
		default:
			layers = append(layers, Layer{Name: name, Data: []byte(value), Key: key})
		}
	}
	return layers, report
}

// unknownSetting is what to say of a flag's key, each part of which may be a secret.
func unknownSetting(name, key string) Entry {
	e := Entry{File: name, Path: key, Message: "unknown key" + suggest(key, Keys())}
	for part := range strings.SplitSeq(key, ".") {
		if !likeKey(part, leaves()) {
			e.Path = unnamed
		}
	}
	return e
}

// leaves are the names of all keys, without the groups that they are in.
func leaves() []string {
	var names []string
	for _, path := range Keys() {
		names = append(names, path[strings.LastIndexByte(path, '.')+1:])
	}
	return names
}

// Keys lists the path of every key of the configuration, groups before what
// they hold. A key of a list's items has [] for the index.
func Keys() []string {
	return keysOf(reflect.TypeFor[Config](), "")
}

func keysOf(t reflect.Type, path string) []string {
	var keys []string
	switch {
	case t.Kind() == reflect.Pointer:
		return keysOf(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return keysOf(t.Elem(), path+"[]")
	case t.Kind() == reflect.Struct:
		for _, f := range fieldsOf(t) {
			below := join(path, f.key)
			keys = append(append(keys, below), keysOf(f.typ, below)...)
		}
	}
	return keys
}
