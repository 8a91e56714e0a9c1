package config

import "strings"

// foreign is what to do instead of variables that people give to a stock registry's
// container, or to what stands before it. A name that ends in * stands for all that begin
// with it; the first that fits counts.
var foreign = []struct{ name, advice string }{
	{"GODEBUG", "leave it out: listen.http2: false turns HTTP/2 off for clients; towards a bucket none of it is needed"},
	{"GOMEMLIMIT", "leave it out: the machine bounds the registry's memory itself"},
	{"GOGC", "leave it out: the machine bounds the registry's memory itself"},
	{"GOMAXPROCS", "leave it out: the registry uses the processors that the machine has"},
	{"OTEL_*", "leave it out: the registry sends no traces; metrics.listen has its metrics"},
	{"AWS_ACCESS_KEY_ID", "use storage.s3.accessKey, or storage.s3.iamRole: true for the role of the instance"},
	{"AWS_SECRET_ACCESS_KEY", "use storage.s3.secretKey, or storage.s3.iamRole: true for the role of the instance"},
	{"AWS_SESSION_TOKEN", "leave it out: keys that end do not suit a machine that stays; storage.s3.iamRole: true takes those of the instance"},
	{"AWS_REGION", "use storage.s3.region"},
	{"AWS_DEFAULT_REGION", "use storage.s3.region"},
	{"AWS_ENDPOINT_URL*", "use storage.s3.endpoint"},
	{"AWS_CA_BUNDLE", "use storage.s3.caBundle"},
	{"AWS_*", "leave it out: storage.s3 has the bucket, its region, its endpoint and its keys"},
	{"SSL_CERT_*", "use the caBundle of what it is for: storage.s3.caBundle, cache.redis.caBundle or tls.acme.caBundle"},
	{"HTTP_PROXY", outbound}, {"HTTPS_PROXY", outbound}, {"ALL_PROXY", outbound}, {"NO_PROXY", "use proxy.noProxy, a list"},
	{"TZ", "leave it out: the machine's times are UTC"},
	{"VIRTUAL_HOST", "use hostname, and aliases for further names: no proxy is needed"},
	{"VIRTUAL_PORT", "use listen.httpsPort: no proxy is needed"},
	{"VIRTUAL_PROTO", "leave it out: the registry ends TLS itself"},
	{"LETSENCRYPT_HOST", "use hostname, and aliases for further names, with tls: {mode: acme}"},
	{"LETSENCRYPT_EMAIL", "use tls: {mode: acme, acme: {email: …}}"},
	{"LETSENCRYPT_*", "use tls: {mode: acme}, and tls.acme.directory for another CA"},
	{"STORAGE_PATH", "use storage.filesystem.root"},
	{"SETTINGS_FLAVOR", "leave it out: it was of registry version 1; use storage"},
}

const outbound = "use proxy: {url: …, noProxy: […]}"

// foreignAdvice is what to do instead of a variable; empty where nothing is known of it.
func foreignAdvice(name string) string {
	name = strings.ToUpper(name)
	for _, f := range foreign {
		begin, all := strings.CutSuffix(f.name, "*")
		if name == f.name || all && strings.HasPrefix(name, begin) {
			return f.advice
		}
	}
	return ""
}
