package foreign

import (
	"maps"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

// storageOptions are keys of storage: that are no driver.
var storageOptions = map[string]bool{"cache": true, "delete": true, "redirect": true, "maintenance": true, "tag": true}

func (d *draft) carryStorage() {
	if name, ok := d.stock["storage"].(string); ok {
		d.stock["storage"] = map[string]any{name: map[string]any{}}
	}
	storage, _ := d.stock["storage"].(map[string]any)
	if on, ok := truth(at(storage, "delete", "enabled")); ok && on {
		d.take("storage", "delete", "enabled") // as it is here
	}
	if on, ok := truth(at(storage, "maintenance", "readonly", "enabled")); ok && !on {
		d.take("storage", "maintenance", "readonly")
	}
	if onlyOptions(storage) && d.images != "" {
		d.directory(d.images)
	}
	for _, driver := range slices.Sorted(maps.Keys(storage)) {
		options := storage[driver]
		switch driver {
		case "s3", "s3aws", "s3_v2":
			delete(storage, driver)
			m, _ := options.(map[string]any)
			d.bucket(m)
		case "filesystem":
			d.directory(text(options, "rootdirectory"))
			d.take("storage", driver, "rootdirectory")
			if len(texts(at(storage, driver, "maxthreads"))) == 0 {
				d.take("storage", driver)
			}
		default:
			if !storageOptions[driver] {
				d.take("storage", driver)
				why := config.Advice("storage." + driver)
				if why == "" {
					why = "there is no driver for it here"
				}
				d.left("storage", "storage."+driver, why+"; until then images go to this machine's directory")
			}
		}
	}
	if off, ok := truth(d.take("storage", "redirect", "disable")); ok && d.out.get("storage", "s3") != nil {
		d.out.set(!off, "storage", "s3", "redirect")
	}
}

// directory says where the images are that a machine of the stock registry keeps.
func (d *draft) directory(root string) {
	if root == "" {
		root = d.images
	}
	from := root
	if name := d.volumes[root]; name != "" {
		from = "the volume " + name
	}
	for _, m := range d.mounts {
		if root == m.at || strings.HasPrefix(root, m.at+"/") {
			from = m.from + strings.TrimPrefix(root, m.at)
		}
	}
	d.note("storage", "images are kept in /var/lib/redoubt/registry; bring those of %s as docs/import.md says", from)
}

// s3Keys are the options of a bucket that have a key here.
var s3Keys = [][2]string{{"bucket", "bucket"}, {"region", "region"}, {"regionendpoint", "endpoint"}, {"accesskey", "accessKey"},
	{"secretkey", "secretKey"}, {"rootdirectory", "root"}, {"encrypt", "encrypt"}, {"keyid", "kmsKeyID"}}

func (d *draft) bucket(options map[string]any) {
	rest := maps.Clone(options)
	secure, said := truth(options["secure"])
	for _, key := range s3Keys {
		value := text(options, key[0])
		delete(rest, key[0])
		on, isTruth := truth(options[key[0]])
		switch {
		case value == "":
		case key[0] == "encrypt":
			if isTruth && on {
				d.out.set(true, "storage", "s3", "encrypt")
			}
		case key[0] == "rootdirectory":
			if root := strings.Trim(value, "/"); root != "" {
				d.out.set(root, "storage", "s3", "root")
			}
		case key[0] == "regionendpoint":
			if !strings.Contains(value, "://") {
				value = map[bool]string{true: "http://", false: "https://"}[said && !secure] + value
			}
			d.out.set(value, "storage", "s3", "endpoint")
		default:
			d.out.set(value, "storage", "s3", key[1])
		}
	}
	endpoint, _ := d.out.get("storage", "s3", "endpoint").(string)
	if text(options, "accesskey") == "" && text(options, "secretkey") == "" && (endpoint == "" || hostname.OfAWS(endpoint)) {
		d.out.set(true, "storage", "s3", "iamRole")
		d.note("storage", "the file has no keys of the bucket, so that the role of the machine is used")
	}
	for _, key := range []string{"secure", "v4auth"} {
		delete(rest, key)
	}
	for _, key := range []string{"pathstyle", "path_style"} { // GitLab's
		if v, ok := rest[key]; ok {
			delete(rest, key)
			rest["forcepathstyle"] = v
		}
	}
	if on, ok := truth(rest["forcepathstyle"]); ok && (on == (endpoint != "" && !hostname.OfAWS(endpoint))) {
		delete(rest, "forcepathstyle") // as it is here
	}
	if len(rest) > 0 {
		put(d.stock, rest, "storage", "s3")
	}
}
