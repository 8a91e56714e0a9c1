package config

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// cloudSchema stands for cloud-init's schema: draft 4, closed, with keys of
// its own.
const cloudSchema = `{"$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
	"properties": {"packages": {"type": "array"}, "x": {}, "y": {}, "users": {}}, "additionalProperties": false}`

func compile(t *testing.T, data []byte) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json") // checks it against its own draft, too
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func schemas(t *testing.T) (own, into *jsonschema.Schema) {
	t.Helper()
	plain, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := SchemaInto([]byte(cloudSchema))
	if err != nil {
		t.Fatal(err)
	}
	return compile(t, plain), compile(t, cloud)
}

// structural are the mistakes that a schema must find as well.
var structural = []string{"unknown key", "must be true or false", "must be a list", "must be a group", "must be text, not",
	"take the quotes away", "a duration needs a unit", "must be one of"}

// TestSchemaAgrees holds the schema to what Parse does: each document that
// Parse takes is valid by both forms of it, and what has a wrong key, type or
// word below one of our keys is not.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	own, into := schemas(t)
	files, _ := filepath.Glob("testdata/*.txtar")
	valid, invalid := 0, 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range casesOf(file, archive) {
			if len(c.layers) != 1 {
				continue
			}
			document, ok := cloudDocument(c.layers[0].Data)
			if !ok {
				continue
			}
			name := filepath.Base(file) + " " + c.want
			_, _, report := Parse(c.layers)
			ownErr, intoErr := own.Validate(document), into.Validate(document)
			if report.Err() == nil {
				valid++
				if ownErr != nil || intoErr != nil {
					t.Errorf("%s: valid, but not by the schema:\n%v\n%v", name, ownErr, intoErr)
				}
			} else if mistake := schemaMistake(report); mistake != "" {
				invalid++
				if ownErr == nil || intoErr == nil {
					t.Errorf("%s: the schema does not find: %s", name, mistake)
				}
			}
		}
	}
	if valid < 50 || invalid < 80 {
		t.Errorf("only %d valid and %d invalid documents were tried", valid, invalid)
	}
}

// cloudDocument is a document as cloud-init has it: with a redoubt: key.
func cloudDocument(data []byte) (any, bool) {
	var document map[string]any
	if err := yaml.Unmarshal(data, &document); err != nil || document["redoubt"] == nil {
		return nil, false
	}
	plain, err := json.Marshal(document)
	if err != nil {
		return nil, false
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
	return out, err == nil
}

func schemaMistake(report Report) string {
	for _, e := range report.Errors() {
		if strings.HasPrefix(e.Path, "registry") || strings.HasPrefix(e.Path, "environment.") || e.Column == 1 {
			continue // the overlay's keys are distribution's
		}
		for _, s := range structural {
			if strings.Contains(e.Message, s) {
				return e.String()
			}
		}
	}
	return ""
}

// TestSchemaDescribes wants words and a default for every key.
func TestSchemaDescribes(t *testing.T) {
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for _, key := range Keys() {
		at := schema["properties"].(map[string]any)["redoubt"].(map[string]any)
		for _, part := range strings.Split(key, ".") {
			name, item := strings.CutSuffix(part, "[]")
			at = at["properties"].(map[string]any)[name].(map[string]any)
			if item {
				at = at["items"].(map[string]any)
			}
		}
		if s, _ := at["description"].(string); !strings.HasSuffix(s, ".") {
			t.Errorf("%s: no description", key)
		}
		_, group := at["properties"]
		_, set := at["default"]
		if !group && !set && !strings.Contains(key, "[]") && key != "hostname" {
			t.Errorf("%s: no default", key)
		}
	}
}

func TestSchemaIntoRefuses(t *testing.T) {
	for _, bad := range []string{"", "[]", "{}", `{"properties": 5}`, "not json"} {
		if _, err := SchemaInto([]byte(bad)); err == nil {
			t.Errorf("%q: taken", bad)
		}
	}
}

// cloud-init 25.1 checks user-data with a validator of its own, which ends in a Python
// error on the keywords that ask whether a schema holds: then no user, no key and no file
// of the user-data is made.
func TestSchemaSuitsCloudInit(t *testing.T) {
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, keyword := range []string{"not", "if", "contains", "prefixItems", "unevaluatedProperties"} {
		if bytes.Contains(data, []byte(`"`+keyword+`":`)) {
			t.Errorf("the schema has the keyword %s", keyword)
		}
	}
}
