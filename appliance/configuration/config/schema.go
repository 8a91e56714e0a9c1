package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON Schema of a document: an object with the redoubt: key.
// It is made of the types, of defaults.yaml and of nothing else.
func Schema() ([]byte, error) {
	ours, err := keySchema(true)
	if err != nil {
		return nil, err
	}
	return marshal(map[string]any{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "Redoubt's configuration",
		"type":        "object",
		"properties":  map[string]any{"redoubt": ours},
		"required":    []string{"redoubt"},
		"description": "The redoubt: key of a cloud-config document.",
	})
}

// SchemaInto is cloud-init's schema of cloud-config (draft 4) with the
// redoubt: key added. Another source may have the hostname, so that here it is
// not required.
func SchemaInto(cloud []byte) ([]byte, error) {
	var schema map[string]any
	decoder := json.NewDecoder(bytes.NewReader(cloud))
	decoder.UseNumber()
	if err := decoder.Decode(&schema); err != nil {
		return nil, fmt.Errorf("cannot read the schema as JSON: %w", err)
	}
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("cannot add to the schema: it has no properties at its top")
	}
	ours, err := keySchema(false)
	if err != nil {
		return nil, err
	}
	properties["redoubt"] = ours
	return marshal(schema)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot write the schema: %w", err)
	}
	return b.Bytes(), nil
}

// keySchema is the schema of the redoubt: key, in words that drafts 4 to 7 of
// JSON Schema share.
func keySchema(required bool) (map[string]any, error) {
	r := jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, DoNotReference: true, ExpandedStruct: true, Anonymous: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			switch t {
			case durationType:
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^[0-9]{1,5}d$`}
			case secretType:
				return &jsonschema.Schema{Type: "string"}
			}
			return nil
		},
	}
	data, err := json.Marshal(r.Reflect(&Config{}))
	if err != nil {
		return nil, fmt.Errorf("cannot make the schema: %w", err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		return nil, fmt.Errorf("cannot make the schema: %w", err)
	}
	for _, key := range []string{"$schema", "$id"} {
		delete(schema, key)
	}
	if !required {
		delete(schema, "required")
	}
	storage := schema["properties"].(map[string]any)["storage"].(map[string]any)
	storage["anyOf"] = []any{lacks("filesystem"), lacks("s3")}
	annotate(schema, defaultValue())
	allowForms(schema)
	return schema, nil
}

// lacks is a group without a key, or with null there. It says so without the word not,
// for cloud-init 25.1's own validator fails on not and on if.
func lacks(key string) map[string]any {
	return map[string]any{"properties": map[string]any{key: map[string]any{"type": "null"}}}
}

// allowForms lets environment: be what Compose has for it: a map, or a list of
// NAME=VALUE, with values that need no quotes.
func allowForms(schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	environment, ok := properties["environment"].(map[string]any)
	if !ok {
		return
	}
	plain := []any{"string", "boolean", "number"}
	environment["type"] = []any{"array", "object", "null"}
	environment["additionalProperties"] = map[string]any{"type": plain}
	if items, ok := environment["items"].(map[string]any); ok {
		items["type"] = []any{"object", "string"}
		if below, ok := items["properties"].(map[string]any); ok {
			below["value"].(map[string]any)["type"] = plain
		}
	}
}

// annotate writes the defaults into an object's properties, and lets null
// stand for each of them.
func annotate(schema map[string]any, value *value) {
	if items, ok := schema["items"].(map[string]any); ok {
		annotate(items, nil)
		allowRemoval(items)
	}
	properties, _ := schema["properties"].(map[string]any)
	for key, p := range properties {
		property := p.(map[string]any)
		below := value.get(key)
		annotate(property, below)
		if below != nil && len(below.keys) == 0 {
			property["default"] = jsonValue(below.plain())
		}
		if kind, ok := property["type"].(string); ok {
			property["type"] = []any{kind, "null"}
		}
		if enum, ok := property["enum"].([]any); ok {
			property["enum"] = append(slices.Clone(enum), nil)
			allowUnquoted(property)
		}
	}
}

// allowUnquoted lets words stand without quotes that YAML 1.1, which cloud-init reads,
// takes for a truth value or a number. These come first: the validator that our tests use
// takes 1.2 after "1.2" for the same once more.
func allowUnquoted(property map[string]any) {
	words, _ := property["enum"].([]any)
	types, _ := property["type"].([]any)
	var other []any
	for _, entry := range words {
		word, _ := entry.(string)
		if number, err := strconv.ParseFloat(word, 64); err == nil {
			other, types = append(other, number), append(types, "number")
		} else if truth, err := strconv.ParseBool(truths[word]); err == nil {
			other, types = append(other, truth), append(types, "boolean")
		}
	}
	property["enum"], property["type"] = append(other, words...), slices.Compact(types)
}

// allowRemoval lets an item with a name stand as {name: …, remove: true}, without the
// keys that it needs otherwise.
func allowRemoval(item map[string]any) {
	properties, _ := item["properties"].(map[string]any)
	if properties["name"] == nil {
		return
	}
	properties[remove] = map[string]any{"type": "boolean", "enum": []any{true},
		"description": "Takes away the item of this name that a lower layer has. No other key stands beside it."}
	if needs, ok := item["required"].([]any); ok {
		item["required"] = []any{"name"}
		item["anyOf"] = []any{map[string]any{"required": needs}, map[string]any{"required": []any{remove}}}
	}
}

// jsonValue writes durations as the configuration does.
func jsonValue(v any) any {
	if d, ok := v.(time.Duration); ok {
		return short(d)
	}
	return v
}
