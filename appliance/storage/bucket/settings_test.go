package bucket_test

import (
	"strings"
	"testing"

	"github.com/redoubt-registry/redoubt/appliance/storage/bucket"
)

func TestFromParameters(t *testing.T) {
	for name, c := range map[string]struct {
		params map[string]any
		want   func(bucket.Settings) bool
	}{
		"AWS": {map[string]any{"bucket": "b", "region": "eu-central-2"}, func(s bucket.Settings) bool {
			return s.Endpoint == "" && !s.PathStyle && s.Region == "eu-central-2"
		}},
		"AWS by its endpoint": {map[string]any{"bucket": "b", "region": "eu-west-1", "regionendpoint": "s3.eu-west-1.amazonaws.com"}, func(s bucket.Settings) bool {
			return s.Endpoint == "https://s3.eu-west-1.amazonaws.com" && !s.PathStyle
		}},
		"a host": {map[string]any{"bucket": "b", "region": "ch-dk-2", "regionendpoint": "sos-ch-dk-2.example.com"}, func(s bucket.Settings) bool {
			return s.Endpoint == "https://sos-ch-dk-2.example.com" && s.PathStyle && s.Region == "ch-dk-2"
		}},
		"a host and port without TLS": {map[string]any{"bucket": "b", "regionendpoint": "minio:9000", "secure": false}, func(s bucket.Settings) bool {
			return s.Endpoint == "http://minio:9000" && s.PathStyle && s.Region == "us-east-1"
		}},
		"a URL": {map[string]any{"bucket": "b", "regionendpoint": "http://minio:9000/", "forcepathstyle": "false", "rootdirectory": "/a/b/"}, func(s bucket.Settings) bool {
			return s.Endpoint == "http://minio:9000" && !s.PathStyle && s.Root == "a/b"
		}},
		"numbers and classes": {map[string]any{"bucket": "b", "region": "r", "chunksize": 33554432, "multipartcopymaxconcurrency": "7", "storageclass": "standard_ia", "objectacl": "private", "encrypt": true, "keyid": "k"}, func(s bucket.Settings) bool {
			return s.ChunkSize == 33554432 && s.CopyParallel == 7 && s.StorageClass == "STANDARD_IA" && s.ACL == "" && s.Encrypt && s.KMSKeyID == "k"
		}},
		"no class": {map[string]any{"bucket": "b", "region": "r", "storageclass": "NONE"}, func(s bucket.Settings) bool { return s.StorageClass == "" }},
	} {
		if s, err := bucket.FromParameters(c.params); err != nil || !c.want(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	for name, params := range map[string]map[string]any{
		"bucket":           {"region": "r"},
		"region":           {"bucket": "b"},
		"secure":           {"bucket": "b", "region": "r", "secure": "perhaps"},
		"encrypt":          {"bucket": "b", "region": "r", "encrypt": 1},
		"keyid":            {"bucket": "b", "region": "r", "keyid": "k"},
		"v4auth":           {"bucket": "b", "region": "r", "v4auth": false},
		"chunksize":        {"bucket": "b", "region": "r", "chunksize": 1000},
		"regionendpoint":   {"bucket": "b", "regionendpoint": "ftp://x"},
		"redirectendpoint": {"bucket": "b", "region": "r", "redirectendpoint": "https://x/y"},
	} {
		if _, err := bucket.FromParameters(params); err == nil || !strings.Contains(err.Error(), "storage.s3."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bucket.OpenDefault(map[string]any{"bucket": "b", "region": "r", "accesskey": "a", "secretkey": "s", "cabundle": "/none"}); err == nil || !strings.Contains(err.Error(), "cabundle") {
		t.Errorf("a missing file of CAs: %v", err)
	}
}
