package config

import (
	"slices"
	"strings"
)

// lifted are the options of distribution's driver s3 for which storage.s3 has a
// key.
var lifted = map[string]string{
	"bucket":         "bucket",
	"region":         "region",
	"regionendpoint": "endpoint",
	"accesskey":      "accessKey",
	"secretkey":      "secretKey",
	"rootdirectory":  "root",
	"encrypt":        "encrypt",
	"keyid":          "kmsKeyID",
}

// lift returns v with what its overlays say and more than the registry goes by in our
// own keys: whoever brings the settings of a stock registry has them checked, carried
// out and kept secret as any others. Their places stay those of the overlay.
func lift(v *value) *value {
	quiet := spot{origins: originsOf(v), wanting: map[string]bool{}, report: &Report{}}
	over, _ := translate(variables(v.get("environment")), quiet)
	if registry := v.get("registry"); registry != nil && registry.kind == group {
		over = merge(over, registry, true)
	}
	return liftOthers(liftS3(v, over.get("storage")), over)
}

// liftedToo are further settings for which we have a key: the machine's own check of
// the storage goes by them, and the size of the cache.
var liftedToo = map[string]string{
	"health.storagedriver.interval":    "health.storage.interval",
	"health.storagedriver.threshold":   "health.storage.threshold",
	"storage.cache.blobdescriptorsize": "cache.size",
}

func liftOthers(v, over *value) *value {
	for stock, ours := range liftedToo {
		set := over.get(strings.Split(stock, ".")...)
		if set == nil || set.kind != scalar {
			continue
		}
		if cache := v.get("cache", "type"); ours == "cache.size" && (cache == nil || cache.scalar != "memory") {
			continue // where it has no effect, which is a mistake of its own
		}
		patch := *set
		patch.at.Path = "" // messages say what it is here
		for _, key := range slices.Backward(strings.Split(ours, ".")) {
			outer := newGroup(Origin{})
			inner := patch
			outer.set(key, &inner)
			patch = *outer
		}
		v = merge(v, &patch, false)
	}
	return v
}

// liftS3 lifts the settings of a bucket, from the overlay of the storage.
func liftS3(v, over *value) *value {
	bucket, have := over.get("s3"), v.get("storage", "s3")
	if bucket == nil {
		bucket = have
	}
	if bucket == nil || bucket.kind != group {
		return v
	}
	s3 := newGroup(bucket.at)
	if bucket != have {
		for _, key := range bucket.keys {
			if ours, ok := lifted[key]; ok {
				lifted := *asOurs(ours, bucket.fields[key], bucket.get("secure"))
				lifted.at.Path = "" // messages say what it is here
				s3.set(ours, &lifted)
			}
		}
	}
	if off := over.get("redirect", "disable"); off != nil {
		if disable, ok := off.scalar.(bool); ok {
			s3.set("redirect", &value{at: Origin{File: off.at.File, Line: off.at.Line, Column: off.at.Column}, scalar: !disable})
		}
	}
	storage := newGroup(bucket.at)
	if below := v.get("storage"); below != nil {
		storage.at = below.at
	}
	if have != nil {
		s3.at = have.at
	}
	storage.set("s3", s3)
	s3.at.Path, storage.at.Path = "", ""
	patch := newGroup(v.at)
	patch.set("storage", storage)
	return merge(v, patch, false)
}

// asOurs is an option in the form of our key: stock takes slashes around the
// prefix, and an endpoint without a scheme.
func asOurs(key string, v, secure *value) *value {
	text, ok := v.scalar.(string)
	if !ok {
		return v
	}
	switch {
	case key == "root":
		text = strings.Trim(text, "/")
	case key == "endpoint" && text != "" && !strings.Contains(text, "://"):
		scheme := "https://"
		if secure != nil && secure.scalar == false {
			scheme = "http://"
		}
		text = scheme + text
	}
	return &value{at: v.at, scalar: text}
}

// variables reads environment: before it is decoded.
func variables(v *value) []Variable {
	if v == nil {
		return nil
	}
	var vars []Variable
	for _, item := range v.items {
		if item.removes {
			continue
		}
		var one Variable
		if name := item.get("name"); name != nil {
			one.Name, _ = name.scalar.(string)
		}
		if text := item.get("value"); text != nil {
			one.Value, _ = text.scalar.(string)
		}
		vars = append(vars, one)
	}
	return vars
}

// withoutLifted takes out of an overlay, which is the caller's own, what
// liftS3 makes keys of storage.s3.
func withoutLifted(overlay map[string]any) map[string]any {
	storage, _ := overlay["storage"].(map[string]any)
	s3, ok := storage["s3"].(map[string]any)
	if !ok {
		return overlay
	}
	for key := range lifted {
		delete(s3, key)
	}
	if len(s3) == 0 {
		delete(storage, "s3")
	}
	if len(storage) == 0 {
		delete(overlay, "storage")
	}
	return overlay
}
