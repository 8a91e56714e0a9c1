// Package docs holds the documents to what the repository does: the reference
// is made from the types, every example of user-data is validated, every link
// leads somewhere and every make target exists.
package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const head = `# Configuration

Every key below ` + "`redoubt:`" + `, with its type, default and meaning. Made from the types by ` + "`go test ./test/docs -update`" + `.

A duration is a number with a unit, such as ` + "`90s`" + `, ` + "`10m`" + ` or ` + "`24h`" + `. A secret is the value itself, ` + "`file:PATH`" + ` for a file on the
machine, or ` + "`cred:NAME`" + ` for a systemd credential. ` + "`null`" + ` brings a default back. "Not supported yet" means that
` + "`redoubt validate`" + ` refuses the key, at its line, in this version.

| key | type | default | meaning |
|---|---|---|---|
`

// node is what the reference shows of a JSON Schema.
type node struct {
	Type        any             `json:"type"`
	Description string          `json:"description"`
	Default     json.RawMessage `json:"default"`
	Enum        []any           `json:"enum"`
	Properties  map[string]node `json:"properties"`
	Items       *node           `json:"items"`
	Required    []string        `json:"required"`
}

// Reference returns the reference of the configuration as Markdown.
func Reference() (string, error) {
	data, err := config.Schema()
	if err != nil {
		return "", err
	}
	var schema node
	if err := json.Unmarshal(data, &schema); err != nil {
		return "", fmt.Errorf("cannot read the schema: %w", err)
	}
	var b strings.Builder
	b.WriteString(head)
	rows(&b, "", schema.Properties["redoubt"])
	return b.String(), nil
}

// rows writes a line for each key below n, in order.
func rows(b *strings.Builder, path string, n node) {
	for _, key := range slices.Sorted(maps.Keys(n.Properties)) {
		p := n.Properties[key]
		name := strings.TrimPrefix(path+"."+key, ".")
		value := oneLine(p.Default)
		if slices.Contains(n.Required, key) {
			value = "required"
		} else if value != "" && value != `""` {
			value = "`" + value + "`"
		} else {
			value = ""
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, kind(p), value, strings.ReplaceAll(p.Description, "|", `\|`))
		if p.Items != nil {
			rows(b, name+"[]", *p.Items)
		}
		rows(b, name, p)
	}
}

// oneLine is JSON without its line breaks, which would end a row.
func oneLine(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil { // a key without a default
		return ""
	}
	return b.String()
}

// kind names the type as a reader would, without the null that every key
// accepts.
func kind(n node) string {
	if len(n.Enum) > 0 {
		var words []string
		for _, e := range n.Enum {
			if e != nil {
				words = append(words, fmt.Sprintf("`%v`", e))
			}
		}
		return strings.Join(words, ", ")
	}
	var types []string
	switch t := n.Type.(type) {
	case string:
		types = []string{t}
	case []any:
		for _, e := range t {
			if e != "null" {
				types = append(types, fmt.Sprint(e))
			}
		}
	}
	names := map[string]string{"string": "text", "integer": "number", "boolean": "true, false", "array": "list", "object": "map"}
	for i, t := range types {
		if name, ok := names[t]; ok {
			types[i] = name
		}
	}
	return strings.Join(types, ", ")
}
