package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

//go:embed defaults.yaml
var defaults []byte

// Parse makes a configuration of layers, the lowest first, and reports every
// mistake in them at once. The configuration is usable only when the report
// has no errors.
func Parse(layers []Layer) (Config, Origins, Report) {
	var report Report
	merged, found, whole := mergeAll(layers, &report)
	merged = lift(merged)
	base := defaultValue()
	all := withDefaults(base, merged)
	all.sweep(&report)
	wanting := wantingOf(all)
	origins := originsOf(all)
	if !found {
		if whole {
			report = append(report, Entry{File: lastName(layers), Message: missing})
		}
		return Config{}, origins, report.Sort().Excerpts(layers)
	}
	cfg, err := decode(all)
	if err != nil {
		report = append(report, Entry{Message: fmt.Sprintf("cannot read the merged configuration: %v", err)})
		return Config{}, origins, report.Sort().Excerpts(layers)
	}
	if whole {
		top := spot{origins: origins, wanting: wanting, report: &report}
		cfg.validate(top)
		unsupported(base, all, &report)
		overlay(merged.get("registry"), func(path string) string { return "registry." + path }, cfg, &report)
		env, label := translate(cfg.Environment, top)
		overlay(env, label, cfg, &report)
	}
	return cfg, origins, report.Sort().Excerpts(layers)
}

// mergeAll merges what is ours in layers. found says that there is a document with it,
// whole that each layer can be read.
func mergeAll(layers []Layer, report *Report) (merged *value, found, whole bool) {
	merged, whole = newGroup(Origin{}), true
	var below, part *value // what is below the parts of one source, and what these make
	for i, layer := range layers {
		c := &checker{file: layer.Name, report: report}
		v, ok := c.layer(layer)
		whole = whole && ok
		if i == 0 || layer.Source == "" || layer.Source != layers[i-1].Source {
			below, part = merged, nil
		}
		if v == nil {
			continue
		}
		found = found || layer.Key == "" || layer.Key == "hostname"
		if part != nil && c.merge.problem != nil {
			*report = append(*report, *c.merge.problem)
		}
		if part != nil && c.merge.own {
			part = c.merge.merging.lay(part, v)
			merged = mergeLayer(below, part)
			continue
		}
		part = merge(part, v, true)
		merged = mergeLayer(merged, v)
	}
	return merged, found, whole
}

// wantingOf are the paths whose value is not known.
func wantingOf(v *value) map[string]bool {
	wanting := map[string]bool{}
	v.walk("", func(path string, v *value) {
		if v.kind == bad {
			wanting[path] = true
		}
		for _, key := range v.near {
			wanting[join(path, key)] = true
		}
	})
	for stock, ours := range lifted {
		if wanting["registry.storage.s3."+stock] {
			wanting["storage.s3."+ours] = true
		}
	}
	return wanting
}

const missing = `no "redoubt:" key: add "redoubt:" with at least "  hostname: NAME" below it`

func lastName(layers []Layer) string {
	if len(layers) == 0 {
		return "user-data"
	}
	return layers[len(layers)-1].Name
}

// layer reads one layer. ok is false when it could not be read at all; the
// value is nil when there is nothing of ours in it.
func (c *checker) layer(layer Layer) (v *value, ok bool) {
	if layer.Key != "" {
		return c.single(layer)
	}
	root, entry := scan(layer.Name, layer.Data)
	if entry != nil {
		*c.report = append(*c.report, *entry)
		return nil, false
	}
	if root == nil {
		return nil, true
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(layer.Data, []byte("\ufeff")), " \t\r\n")
	cloud := layer.Cloud || bytes.HasPrefix(text, []byte("#cloud-config"))
	ours, foreign := split(root)
	if cloud {
		c.mergeType(root, layer)
	}
	if ours == nil && !cloud {
		ours, foreign = root, nil
	}
	for _, key := range foreign {
		switch {
		case key.Value == "redoubt":
			c.fail(key, "redoubt", "duplicate key: there must be only one")
		case !cloud && likeKey(key.Value, nil):
			c.fail(key, key.Value, `unknown key: beside "redoubt:" there must be no other`)
		case !cloud:
			c.fail(key, "", hiddenKey)
		}
	}
	if ours == nil {
		for _, key := range foreign {
			if distance(strings.ToLower(key.Value), "redoubt") <= 2 {
				c.fail(key, shown(key.Value, nil), `unknown key (did you mean "redoubt"?)`)
				ok = true
			}
		}
		return nil, !ok
	}
	if count(ours) > maxValues {
		c.fail(ours, "", "too large: at most %d values are read", maxValues)
		return nil, false
	}
	ours, err := unfold(ours)
	if err != nil {
		c.fail(ours, "", "%s", err)
		return nil, false
	}
	v = c.check(ours, reflect.TypeFor[Config](), "", 0)
	c.htpasswd(v, breaks.Split(string(layer.Data), -1))
	if v.kind == unset {
		v = newGroup(v.at)
	}
	return v, v.kind == group
}

// maxValues bounds the keys and values of a layer; a real one has hundreds.
const maxValues = 20000

func count(n *yaml.Node) int {
	sum := 1
	for _, child := range n.Content {
		sum += count(child)
	}
	return sum
}

// split finds the value of the redoubt: key, and the other keys. A second
// redoubt: key is among the others.
func split(root *yaml.Node) (ours *yaml.Node, foreign []*yaml.Node) {
	if root.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i]; key.Value == "redoubt" && ours == nil {
			ours = root.Content[i+1]
		} else {
			foreign = append(foreign, key)
		}
	}
	return ours, foreign
}

// single reads the value of one key. Text needs no quotes here.
func (c *checker) single(layer Layer) (v *value, ok bool) {
	keys := strings.Split(layer.Key, ".")
	t := reflect.TypeFor[Config]()
	for _, key := range keys {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		for _, f := range fieldsOf(t) {
			if f.key == key {
				t = f.typ
				break
			}
		}
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Tag: "!!str", Value: string(layer.Data)}
	if t.Kind() != reflect.String && t != durationType {
		root, entry := scan(layer.Name, layer.Data)
		if entry != nil {
			entry.Path = layer.Key
			*c.report = append(*c.report, *entry)
			return nil, false
		}
		if root == nil {
			root = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		}
		node = root
	}
	move(node, Origin{}) // the name of the variable or flag says it all
	v = c.check(node, t, layer.Key, len(keys))
	for i := len(keys) - 1; i >= 0; i-- {
		outer := newGroup(Origin{})
		outer.set(keys[i], v)
		v = outer
	}
	c.htpasswd(v, nil)
	return v, true
}

// defaultValue is defaults.yaml as a value, for who may change it.
func defaultValue() *value { return readDefaults().copy() }

// readDefaults reads defaults.yaml, which takes longer than most documents.
var readDefaults = sync.OnceValue(func() *value {
	var report Report
	c := &checker{report: &report}
	v, _ := c.layer(Layer{Data: defaults})
	return v
})

// accept is the key of storage that is no place.
const accept = "acceptEmpty"

// withDefaults fills in what is not set. Of the choices below storage only the
// one that was made has defaults, and filesystem when none was.
func withDefaults(base, v *value) *value {
	storage, choice := base.get("storage"), v.get("storage")
	chosen := newGroup(storage.at)
	for _, key := range storage.keys {
		made := choice != nil && slices.ContainsFunc(choice.keys, func(k string) bool { return k != accept })
		if key == accept || made && choice.fields[key] != nil || !made && key == "filesystem" {
			chosen.set(key, merge(nil, storage.fields[key], false))
		}
	}
	if s3 := chosen.get("s3"); s3 != nil && !public(v.get("storage", "s3", "endpoint")) {
		s3.set("redirect", &value{scalar: false})
	}
	out := merge(nil, base, false) // a copy
	out.set("storage", chosen)
	return mergeLayer(out, v)
}

// public tells whether clients can be sent to an endpoint: to AWS, or by https to a
// name or an address of the internet.
func public(endpoint *value) bool {
	if endpoint == nil {
		return true
	}
	text, _ := endpoint.scalar.(string)
	u, err := url.Parse(text)
	return text == "" || err == nil && u.Scheme == "https" && !isPrivate(u.Hostname())
}

// texts are the keys and the texts of a group.
func texts(v *value) map[string]string {
	if v == nil || v.kind != group {
		return nil
	}
	out := map[string]string{}
	for _, key := range v.keys {
		if text, ok := v.fields[key].scalar.(string); ok && v.fields[key].kind == scalar {
			out[key] = text
		}
	}
	return out
}

// decode makes the Config. The overlay is kept from viper, which would lower
// the case of its keys, and the names of claims are set again; so is its environment, since every REDOUBT_* variable
// is a layer by now and has been checked.
func decode(v *value) (Config, error) {
	settings, _ := v.plain().(map[string]any)
	delete(settings, "registry")
	reader := viper.NewWithOptions(viper.KeyDelimiter("\x1f"))
	if err := reader.MergeConfigMap(settings); err != nil {
		return Config{}, err
	}
	var cfg Config
	err := reader.UnmarshalExact(&cfg, func(d *mapstructure.DecoderConfig) {
		d.TagName = "yaml"
		d.WeaklyTypedInput = false
	})
	if registry := v.get("registry"); registry != nil {
		cfg.Registry, _ = registry.patch().(map[string]any)
	}
	if trust := v.get("auth", "oidc", "trust"); err == nil && trust != nil && trust.kind == list {
		for i := range cfg.Auth.OIDC.Trust {
			cfg.Auth.OIDC.Trust[i].Match = texts(trust.items[i].get("match"))
		}
	}
	return cfg, err
}

func originsOf(v *value) Origins {
	origins := Origins{}
	v.walk("", func(path string, v *value) {
		if v.at.File != "" || path == "" {
			origins[path] = v.at
		}
	})
	return origins
}
