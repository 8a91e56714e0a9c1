package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// keys are what opens a bucket: keys, or the role of the machine.
type keys struct {
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	Role      bool   `json:"role"`

	cas []byte // PEM
}

// file is the storage that a configuration file describes, which may be a whole
// configuration or have a storage: section alone.
func (f Finder) file(ctx context.Context, path string) (*Place, error) {
	cfg, err := read(path)
	if err != nil {
		return nil, err
	}
	return f.described(ctx, cfg)
}

// Described opens what is described in the words of a configuration's storage. It need
// not be the registry's.
func (f Finder) Described(ctx context.Context, storage config.Storage) (*Place, error) {
	cfg, _, _ := config.Parse([]config.Layer{bare})
	cfg.Storage = storage
	if f := storage.Filesystem; f != nil {
		return directory(f.Root)
	}
	return f.described(ctx, cfg)
}

func (f Finder) described(ctx context.Context, cfg config.Config) (*Place, error) {
	facts, _, err := secrets.Resolver{Root: "/", Credentials: f.Credentials}.Facts(cfg, secrets.Kept{HTTPSecret: "none"})
	if err != nil {
		return nil, err
	}
	files, err := render.Tree(cfg, facts)
	if err != nil {
		return nil, err
	}
	registry, _ := files.Lookup(paths.RegistryYML)
	storage, err := storageOf(registry.Data)
	if err != nil {
		return nil, err
	}
	k := &keys{cas: facts.S3CAs}
	if credential, ok := files.Lookup(paths.S3Keys); ok {
		if err := json.Unmarshal(credential.Data, k); err != nil {
			return nil, errors.New("its keys cannot be used")
		}
	}
	return open(ctx, storage, k)
}

// bare is a configuration of which the storage alone counts.
var bare = config.Layer{Name: "the command line", Data: []byte("redoubt: {hostname: place.example.com, cache: {type: none}}")}

// BackupPlace is where a configuration file says that backups lie.
func BackupPlace(path string) (config.BackupPlace, error) {
	cfg, _, err := parse(path)
	if err == nil && !cfg.Backup.To.Set() {
		err = errors.New("it has no backup.to: with directory: or s3: in it")
	}
	return cfg.Backup.To, err
}

func parse(path string) (config.Config, config.Origins, error) {
	found := userdata.ReadFiles([]string{path})
	cfg, origins, report := config.Parse(append([]config.Layer{bare}, found.Layers...))
	if err := append(slices.Clone(found.Report), report...).Sort().Err(); err != nil {
		return cfg, nil, errors.New("it is not valid:\n" + err.Error())
	}
	return cfg, origins, nil
}

// read reads what a file says of the storage, and nothing else of it.
func read(path string) (config.Config, error) {
	bare, _, _ := config.Parse([]config.Layer{bare})
	cfg, origins, err := parse(path)
	if err != nil {
		return bare, err
	}
	_, directory := origins["storage.filesystem"]
	_, bucket := origins["storage.s3"]
	if !directory && !bucket {
		return bare, errors.New("it has no storage: section with s3: or filesystem: in it")
	}
	bare.Storage, bare.Registry, bare.Environment = cfg.Storage, cfg.Registry, cfg.Environment
	return bare, nil
}
