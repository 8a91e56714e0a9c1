package foreign

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
)

// twuni takes the values of the chart docker-registry.
func (d *draft) twuni(values map[string]any) error {
	d.describes(stockImages)
	if c, ok := values["configData"].(map[string]any); ok {
		d.config(c)
	}
	storage := text(values, "storage")
	switch options, _ := values[storage].(map[string]any); storage {
	case "", "filesystem":
	case "s3":
		s3 := map[string]any{}
		for key, v := range options {
			s3[strings.ToLower(key)] = v
		}
		for key, from := range map[string][]string{"accesskey": {"secrets", "s3", "accessKey"}, "secretkey": {"secrets", "s3", "secretKey"}} {
			if v := text(values, from...); v != "" {
				s3[key] = v
			}
		}
		if ref := text(values, "secrets", "s3", "secretRef"); ref != "" {
			d.left("storage", "secrets.s3.secretRef", "the keys are in a Secret of the cluster: write them as accessKey and secretKey")
		}
		remove(d.stock, []string{"storage", "filesystem"})
		put(d.stock, mergeMaps(nil, s3), "storage", "s3")
	default:
		remove(d.stock, []string{"storage", "filesystem"})
		put(d.stock, map[string]any{}, "storage", storage)
		d.left("storage", "storage: "+storage, "there is no driver for it here")
		remove(d.stock, []string{"storage", storage})
	}
	d.htpasswd([]byte(text(values, "secrets", "htpasswd")))
	if at(values, "secrets", "htpasswd") == nil && text(values, "secrets", "htpasswdSecret") != "" {
		d.missing("auth", "secrets.htpasswdSecret", "it is in a Secret of the cluster: give its lines as a FILE; without them nobody can log in")
		d.loginTold = true
	}
	if on, ok := truth(at(values, "persistence", "deleteEnabled")); ok {
		put(d.stock, on, "storage", "delete", "enabled")
	}
	if on, _ := truth(at(values, "proxy", "enabled")); on {
		put(d.stock, values["proxy"], "proxy")
	}
	if text(values, "tlsSecretName") != "" {
		d.missing("tls", "tlsSecretName", "the certificate is in a Secret of the cluster: give it and its key as FILEs; without them the machine's own CA makes one")
	}
	if on, _ := truth(at(values, "garbageCollect", "enabled")); on {
		d.left("registry", "garbageCollect", "here redoubt gc frees the space, while the registry serves (docs/space.md)")
	}
	d.ingress(values["ingress"])
	d.environment(values["extraEnvVars"], func(s string) (string, bool) { return s, true })
	for _, key := range []string{"replicaCount", "autoscaling"} {
		if n := text(values, key); n != "" && n != "1" {
			d.left("registry", key, "this is the user-data of one machine: for several set nodes, httpSecret and a bucket (docs/storage.md)")
		}
	}
	return nil
}

// ingress takes the names of an ingress, and whether an ACME CA certified them.
func (d *draft) ingress(v any) {
	for _, item := range texts(at(v, "hosts")) {
		d.named(item)
	}
	hosts, _ := at(v, "hosts").([]any)
	for _, item := range hosts {
		d.named(text(item, "host"))
	}
	if annotations, ok := at(v, "annotations").(map[string]any); ok {
		for key := range annotations {
			d.acme = d.acme || strings.Contains(key, "cert-manager.io") && strings.Contains(key, "issuer") || strings.Contains(key, "tls-acme")
		}
	}
}

// harbor takes harbor.yml, the file of Harbor's installer.
func (d *draft) harbor(doc map[string]any) error {
	d.describes("/data/registry")
	for _, name := range []string{text(doc, "external_url"), text(doc, "hostname")} {
		d.named(name)
	}
	if service, ok := doc["storage_service"].(map[string]any); ok {
		delete(service, "ca_bundle")
		put(d.stock, mergeMaps(nil, service), "storage")
	}
	if at(d.stock, "storage") == nil || onlyOptions(at(d.stock, "storage")) {
		if root := text(doc, "data_volume"); root != "" {
			put(d.stock, root+"/registry", "storage", "filesystem", "rootdirectory")
		}
	}
	put(d.stock, text(doc, "https", "certificate"), "http", "tls", "certificate")
	put(d.stock, text(doc, "https", "private_key"), "http", "tls", "key")
	for _, where := range []string{"https", "http"} {
		if _, port := nameOf(":" + text(doc, where, "port")); port != 0 && d.port == 0 && where == "https" {
			d.port = port
		}
	}
	d.harborKept()
	return nil
}

func (d *draft) harborKept() {
	d.noLogin = true
	d.left("auth", "Harbor's users, robots and projects", "they are in its database: add a login for each to auth.users or auth.htpasswd; repositories keep their names, project/repository")
	d.left("registry", "Harbor's scans, replication, retention and quotas", "they are done by Harbor and not by its registry")
}

func onlyOptions(v any) bool {
	m, _ := v.(map[string]any)
	for key := range m {
		if !storageOptions[key] {
			return false
		}
	}
	return true
}

// harborChart takes the values of Harbor's chart.
func (d *draft) harborChart(values map[string]any) error {
	d.describes("/storage")
	d.named(text(values, "externalURL"))
	d.named(text(values, "expose", "ingress", "hosts", "core"))
	if store, ok := at(values, "persistence", "imageChartStorage").(map[string]any); ok {
		driver := text(store, "type")
		if driver == "" {
			driver = "filesystem"
		}
		options, _ := store[driver].(map[string]any)
		if secret := text(options, "existingSecret"); secret != "" {
			d.left("storage", "persistence.imageChartStorage."+driver+".existingSecret", "the keys are in a Secret of the cluster: write them as accessKey and secretKey")
			delete(options, "existingSecret")
		}
		put(d.stock, mergeMaps(nil, options), "storage", driver)
		if off, ok := truth(store["disableredirect"]); ok {
			put(d.stock, off, "storage", "redirect", "disable")
		}
	}
	d.ingress(at(values, "expose", "ingress"))
	if text(values, "expose", "tls", "certSource") == "secret" && !d.acme {
		d.missing("tls", "expose.tls.secret", "the certificate is in a Secret of the cluster: give it and its key as FILEs; without them the machine's own CA makes one")
	}
	d.harborKept()
	return nil
}

// gitlabChart takes the values of GitLab's chart, as far as its registry goes.
func (d *draft) gitlabChart(values map[string]any) error {
	d.describes("registry.storage")
	if name := text(values, "global", "hosts", "registry", "name"); name != "" {
		d.named(name)
	} else if domain := text(values, "global", "hosts", "domain"); domain != "" {
		d.named("registry." + domain)
	}
	if mail := text(values, "certmanager-issuer", "email"); mail != "" {
		d.acme, d.mail = true, mail
	}
	if text(values, "registry", "storage", "secret") != "" && len(d.given) == 1 {
		d.missing("storage", "registry.storage.secret", "the bucket is described in a Secret of the cluster: give its contents as a FILE too")
	}
	d.gitlabKept()
	return nil
}

func (d *draft) gitlabKept() {
	d.noLogin = true
	d.left("auth", "GitLab's users and tokens", "GitLab logs its users in with tokens, which this registry does not take: add logins for the runners and people to auth.users or auth.htpasswd; repositories keep their names, group/project")
}

// kubernetes takes manifests: of a registry's workload, and of what that mounts.
func (d *draft) kubernetes(list []map[string]any) error {
	for _, doc := range list {
		name := text(doc, "metadata", "name")
		switch text(doc, "kind") {
		case "ConfigMap":
			d.kubernetesData(name, at(doc, "data"), func(s string) []byte { return []byte(s) })
		case "Secret":
			d.kubernetesData(name, at(doc, "stringData"), func(s string) []byte { return []byte(s) })
			d.kubernetesData(name, at(doc, "data"), func(s string) []byte {
				out, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
				if err != nil {
					return nil
				}
				return out
			})
		case "Ingress":
			d.ingress(map[string]any{"hosts": at(doc, "spec", "rules"), "annotations": at(doc, "metadata", "annotations")})
		case "List":
			items, _ := doc["items"].([]any)
			for _, item := range items {
				if m, ok := item.(map[string]any); ok {
					if err := d.kubernetes([]map[string]any{m}); err != nil {
						return err
					}
				}
			}
		}
	}
	for _, doc := range list {
		pod := at(doc, "spec", "template", "spec")
		if text(doc, "kind") == "Pod" {
			pod = doc["spec"]
		}
		containers, _ := at(pod, "containers").([]any)
		for _, c := range containers {
			if registryImage.MatchString(text(c, "image")) {
				d.describes(stockImages)
				d.container(pod, c)
			}
		}
	}
	return nil
}

// kubernetesData takes the files of a ConfigMap or a Secret. Each is one that a pod may
// mount, and a config.yml counts by itself.
func (d *draft) kubernetesData(name string, data any, decode func(string) []byte) {
	m, _ := data.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		content := decode(text(m, key))
		d.given = append(d.given, File{Name: "/kubernetes/" + name + "/" + key, Data: content})
		if list, err := documents(string(content)); err == nil && len(list) == 1 && at(list[0], "storage") != nil {
			d.config(list[0])
		} else if key == "htpasswd" {
			d.htpasswd(content)
		}
	}
}

// container takes a container's environment, with what it refers to, and its mounts.
func (d *draft) container(pod, c any) {
	volumes, _ := at(pod, "volumes").([]any)
	mounts, _ := at(c, "volumeMounts").([]any)
	for _, m := range mounts {
		for _, v := range volumes {
			if text(v, "name") != text(m, "name") {
				continue
			}
			for _, from := range []string{text(v, "configMap", "name"), text(v, "secret", "secretName")} {
				if from != "" {
					d.mounts = append(d.mounts, mount{"/kubernetes/" + from, text(m, "mountPath")})
				}
			}
		}
	}
	env, _ := at(c, "env").([]any)
	for _, item := range env {
		name := text(item, "name")
		for _, from := range []string{"secretKeyRef", "configMapKeyRef"} {
			if key := text(item, "valueFrom", from, "key"); key != "" {
				if data, _, ok := d.file("/kubernetes/" + text(item, "valueFrom", from, "name") + "/" + key); ok {
					d.variable(name, strings.TrimSpace(string(data)))
				} else {
					d.missing("registry", name, "its value is in a Secret or a ConfigMap of the cluster: give that as a FILE too")
				}
			}
		}
		if at(item, "valueFrom") == nil {
			d.variable(name, text(item, "value"))
		}
	}
}
