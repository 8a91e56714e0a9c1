package builder

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

func good(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{
		"image": "redoubt", "version": "1.2.3", "packages": []string{"linux-image-cloud-amd64"},
		"initrd_modules": []string{"virtio_blk"}, "partitions": "../repart.d",
		"cache_directory": "cache", "output_directory": "out",
	}
}

func TestPrepare(t *testing.T) {
	var b Builder
	if _, _, err := b.Prepare(good(t)); err != nil {
		t.Fatal(err)
	}
	c := b.config
	if c.Suite != "trixie" || c.DiskSize != 10 || c.Title != "redoubt 1.2.3" || !filepath.IsAbs(c.CacheDirectory) || !filepath.IsAbs(c.Partitions) {
		t.Errorf("defaults: %+v", c)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"image", "", `image: "" is not a word`},
		{"version", "1/2", `version: "1/2" is not a word`},
		{"version", strings.Repeat("1", 32), "at most 31 letters"},
		{"suite", "a b", `suite: "a b" is not a word`},
		{"packages", []string{}, "packages: it is empty"},
		{"initrd_modules", []string{}, "initrd_modules: it is empty"},
		{"initrd_modules", []string{"x y"}, `initrd_modules: "x y" is not a module's name`},
		{"disk_size", 2, "disk_size: 2 GiB is too little"},
		{"partitions", "none", "none is not a directory"},
		{"files", "config.go", "config.go is not a directory"},
		{"cache_directory", "", "cache_directory: it must be given"},
		{"output_directory", "/", "output_directory: / is not a place"},
		{"packges", []string{"x"}, `unknown configuration key: '"packges"'`},
	} {
		config := maps.Clone(good(t))
		config[c.key] = c.value
		var b Builder
		if _, _, err := b.Prepare(config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: got %v, want %q", c.key, c.value, err, c.want)
		}
	}
	config := good(t)
	config["image"], config["disk_size"], config["partitions"] = "", 2, "none"
	var b Builder
	_, _, err := b.Prepare(config)
	for _, want := range []string{"image:", "disk_size:", "partitions:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not among the mistakes: %v", want, err)
		}
	}
}
