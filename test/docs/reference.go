// Package docs holds the documents to what the repository does: the reference is
// made from the types, the map from the package comments; every example of
// user-data is validated, every link leads somewhere and every make target exists.
package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
)

const referenceHead = `# Configuration

Every key below ` + "`redoubt:`" + `, with its type, default and meaning. Made from the types by ` + "`go test ./test/docs -update`" + `.
Only ` + "`hostname`" + ` is required in every document; a key in a list or in a map is required as soon as that is there.

| type | what it is |
|---|---|
| duration | a number with a unit: ` + "`90s`, `10m`, `24h`" + ` |
| secret | the value itself, ` + "`file:PATH`" + ` for a file on the machine, or ` + "`cred:NAME`" + ` for a systemd credential. No message and no page shows it |
| list of … | ` + "`[a, b]`" + `, or a line with ` + "`- `" + ` for each |

` + "`null`" + ` restores a default. ` + "`redoubt schema`" + ` prints the same as a JSON Schema, and ` + "`redoubt validate FILE`" + ` names each mistake with its line.

## Layers

Several documents are one configuration: see [their order](operations.md#changing-the-configuration). They are merged as RFC 7386 has it, and
lists whose items have a ` + "`name`" + ` by name:

- A map is merged, key by key. A value, and a list without names such as ` + "`aliases`" + `, is replaced by that of the higher layer.
- In ` + "`auth.users`, `listen.headers`, `log.fields`, `notifications` and `environment`" + ` an item changes the one of its name, key by key, and stands at the end where there
  is none; all others stay. Of ` + "`password` and `passwordHash`" + ` the one that a higher layer sets counts.
- ` + "`- {name: bob, remove: true}`" + ` takes the item of that name away; ` + "`users: []`" + ` takes all of the lower layers away. The defaults are the lowest layer.
- Below ` + "`registry:`" + `, in distribution's own words, every list is replaced, and ` + "`null`" + ` takes a setting away.
- The parts of one MIME message are layers as well. A part with ` + "`merge_how`" + ` or the header ` + "`Merge-Type`" + ` is merged with the parts
  before it as cloud-init would, and users by name all the same; a merge type that cannot be had here is an error.

` + "`redoubt show --origin`" + ` names the file and line of each value, and so the source of each item.
`

// pages are where to read on about a key at the top.
var pages = map[string]string{
	"listen":        "[behind a proxy](proxy.md)",
	"tls":           "[a public name](public-name.md), [an IP address](ip-address.md), [a company CA](company-ca.md), [client certificates](client-certificates.md)",
	"auth":          "[user guide](user-guide.md), [client certificates](client-certificates.md)",
	"storage":       "[storage](storage.md)",
	"cache":         "[the cache](cache.md)",
	"health":        "[operations](operations.md#the-storages-health)",
	"alerts":        "[operations](operations.md#alerts)",
	"metrics":       "[metrics](metrics.md)",
	"notifications": "[webhooks](webhooks.md)",
	"firewall":      "[secrets](secrets.md#the-firewall)",
	"environment":   "[storage](storage.md)",
}

// node is what the reference shows of a JSON Schema.
type node struct {
	Description string          `json:"description"`
	Default     json.RawMessage `json:"default"`
	Enum        []any           `json:"enum"`
	Properties  map[string]node `json:"properties"`
	Items       *node           `json:"items"`
	Required    []string        `json:"required"`
}

// Reference returns the reference of the configuration as Markdown: the keys in
// the order in which the types declare them, without those that are refused as
// "not supported yet".
func Reference() (string, error) {
	data, err := config.Schema()
	if err != nil {
		return "", err
	}
	var schema node
	if err := json.Unmarshal(data, &schema); err != nil {
		return "", fmt.Errorf("cannot read the schema: %w", err)
	}
	top := schema.Properties["redoubt"]
	var b strings.Builder
	b.WriteString(referenceHead)
	heading := ""
	for _, f := range fields(reflect.TypeFor[config.Config]()) {
		n := top.Properties[f.key]
		if !config.Supported(f.key) {
			continue
		}
		section := "`" + f.key + "`"
		if n.Properties == nil && n.Items.fields() == nil && f.typ.Kind() != reflect.Map {
			section = "The machine"
		}
		if section != heading {
			heading = section
			fmt.Fprintf(&b, "\n## %s\n", section)
			if page := pages[f.key]; page != "" {
				fmt.Fprintf(&b, "\nSee %s.\n", page)
			}
			b.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
		}
		row(&b, f.key, n, f.typ, top.Required)
	}
	return b.String(), nil
}

func (n *node) fields() map[string]node {
	if n == nil {
		return nil
	}
	return n.Properties
}

// key is one key of a struct.
type key struct {
	key string
	typ reflect.Type
}

// fields lists the keys of a struct as they are declared.
func fields(t reflect.Type) []key {
	var list []key
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		list = append(list, key{name, t.Field(i).Type})
	}
	return list
}

// row writes the line of one key, and then those of the keys below it.
func row(b *strings.Builder, path string, n node, t reflect.Type, required []string) {
	if !config.Supported(path) {
		return
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	value := oneLine(n.Default)
	description, need := requirement(n.Description)
	switch {
	case slices.Contains(required, name):
		value = "required"
	case need != "":
		value = need
	case value != "" && value != `""`:
		value = "`" + value + "`"
	default:
		value = ""
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, kind(n, t), value, strings.ReplaceAll(description, "|", `\|`))
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		path, t, n = path+"[]", t.Elem(), *n.Items
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for _, f := range fields(t) {
		row(b, path+"."+f.key, n.Properties[f.key], f.typ, n.Required)
	}
}

// requirement takes the sentence that says when a key is required out of its
// description: its place is the column of defaults.
func requirement(description string) (rest, need string) {
	for sentence := range strings.SplitAfterSeq(description, ". ") {
		if word := strings.TrimRight(sentence, ". "); strings.HasPrefix(word, "Required") {
			need = "required" + strings.TrimPrefix(word, "Required")
			continue
		}
		rest += sentence
	}
	return strings.TrimSpace(rest), need
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
func kind(n node, t reflect.Type) string {
	if len(n.Enum) > 0 {
		var words []string
		for _, e := range n.Enum {
			if word, ok := e.(string); ok { // other forms are what YAML makes of them without quotes
				words = append(words, "`"+word+"`")
			}
		}
		return strings.Join(words, ", ")
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[config.Secret]():
		return "secret"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "`true`, `false`"
	case reflect.Int:
		return "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "list of maps"
		}
		return "list of " + kind(node{}, t.Elem())
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "map"
	}
	panic(fmt.Sprintf("the reference has no word for %v", t))
}
