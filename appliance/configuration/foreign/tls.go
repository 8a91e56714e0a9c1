package foreign

import (
	"encoding/pem"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
)

func (d *draft) carryHTTP() {
	if relative, ok := truth(d.take("http", "relativeurls")); ok && relative { // false has no effect here
		put(d.stock, relative, "http", "relativeurls")
	}
	address := text(d.take("http", "addr"))
	if host := text(d.take("http", "host")); host != "" {
		d.named(host)
	}
	_, after, _ := strings.Cut(address[strings.LastIndexByte(address, ']')+1:], ":")
	if port, err := strconv.Atoi(after); err == nil && d.port == 0 && len(d.mounts) == 0 && at(d.stock, "http", "tls") != nil &&
		port != 443 && port != 80 {
		d.port = port
	}
	d.take("http", "net")
	if d.take("http", "secret") != nil {
		d.left("registry", "http.secret", "the machine makes its own; several machines need one that they share (httpSecret)")
	}
	if drain := d.take("http", "draintimeout"); drain != nil {
		d.out.set(drain, "listen", "drainTimeout")
	}
	if off, ok := truth(d.take("http", "http2", "disabled")); ok && off {
		d.out.set(false, "listen", "http2")
	}
	if debug := text(d.take("http", "debug", "addr")); strings.HasSuffix(debug, ":5001") && loopback(debug) {
		debug = "" // as it is here
	} else if loopback(debug) {
		d.out.set(debug, "metrics", "listen")
	} else if debug != "" {
		d.left("metrics", "http.debug.addr", "metrics are on a loopback address alone, 127.0.0.1:5001 by default")
	}
	d.take("http", "debug")
	headers, _ := at(d.stock, "http", "headers").(map[string]any)
	for name, value := range headers {
		if v := texts(value); strings.EqualFold(name, "X-Content-Type-Options") && len(v) == 1 && v[0] == "nosniff" {
			delete(headers, name) // as it is here
		}
	}
}

// carryTLS takes the certificate, or says who gives one.
func (d *draft) carryTLS() {
	certificate, key := text(d.take("http", "tls", "certificate")), text(d.take("http", "tls", "key"))
	le, _ := d.take("http", "tls", "letsencrypt").(map[string]any)
	for _, host := range texts(le["hosts"]) {
		d.named(host)
	}
	if mail := text(le, "email"); mail != "" || len(texts(le["hosts"])) > 0 {
		d.acme, d.mail = true, mail
	}
	switch v := strings.TrimPrefix(text(d.take("http", "tls", "minimumtls")), "tls"); v {
	case "":
	case "1.3":
		d.out.set(quoted(v), "tls", "minVersion")
	case "1.0", "1.1":
		d.left("tls", "http.tls.minimumtls", "TLS 1.2 is the lowest here")
	}
	switch {
	case d.pair(certificate, key):
	case d.acme:
		d.out.set("acme", "tls", "mode")
		if d.mail != "" {
			d.out.set(d.mail, "tls", "acme", "email")
		}
		if url := text(le, "directoryurl"); url != "" {
			d.out.set(url, "tls", "acme", "directory")
		}
		if certificate != "" {
			d.left("tls", "http.tls.certificate", "the machine obtains a certificate itself (tls.mode acme), on port 80")
		}
	case certificate != "" || key != "":
		_, name, _ := d.file(certificate)
		d.missing("tls", "http.tls.certificate", name+" and its key are needed: give both as FILEs too; without them the machine's own CA makes the certificate")
	default:
		d.note("tls", "the files have no certificate: the machine's own CA makes one, which clients must trust (docs/ip-address.md); tls: {mode: acme} obtains a public one")
	}
	d.clients()
}

// pair sets the server's certificate and key, of the paths that the files name or of the
// FILEs that are PEM.
func (d *draft) pair(certificate, key string) bool {
	certPEM, certName, haveCert := d.file(certificate)
	keyPEM, _, haveKey := d.file(key)
	if certificate == "" || key == "" || !haveCert || !haveKey {
		certPEM, keyPEM, certName = d.matching()
	}
	if certPEM == nil {
		return false
	}
	pair, err := cert.ParsePair(certPEM, keyPEM)
	if err != nil {
		d.missing("tls", "the certificate "+path.Base(certName), err.Error())
		return false
	}
	d.names = append(d.names, pair.Leaf.DNSNames...)
	for _, ip := range pair.Leaf.IPAddresses {
		d.names = append(d.names, ip.String())
	}
	d.out.set("files", "tls", "mode")
	d.out.set(block(onlyPEM(certPEM, "CERTIFICATE")), "tls", "files", "certificate")
	d.out.set(block(onlyPEM(keyPEM, "PRIVATE KEY")), "tls", "files", "privateKey")
	d.note("tls", "nobody renews a certificate of your own: replace it here before %s ends, or let tls.mode acme obtain one", path.Base(certName))
	return true
}

// matching finds a certificate and the key that belongs to it among the FILEs.
func (d *draft) matching() (certPEM, keyPEM []byte, name string) {
	for _, c := range d.pems {
		for _, k := range d.pems {
			if !strings.Contains(string(k.Data), "PRIVATE KEY-----") || !strings.Contains(string(c.Data), "BEGIN CERTIFICATE-----") {
				continue
			}
			if _, err := cert.ParsePair(c.Data, k.Data); err == nil {
				return c.Data, k.Data, c.Name
			}
		}
	}
	return nil, nil, ""
}

// onlyPEM leaves the blocks of one kind, without what stands around them.
func onlyPEM(data []byte, kind string) string {
	var b strings.Builder
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return b.String()
		}
		if strings.HasSuffix(block.Type, kind) {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
		}
		data = rest
	}
}

// clients takes the CAs of client certificates.
func (d *draft) clients() {
	mode := "required"
	switch auth := text(d.take("http", "tls", "clientauth")); auth {
	case "", "require-and-verify-client-cert":
	case "verify-client-cert-if-given":
		mode = "optional"
	default:
		d.left("tls", "http.tls.clientauth", "here client certificates are always verified: none, optional or required (tls.clientAuth.mode)")
	}
	var cas []any
	for _, file := range texts(d.take("http", "tls", "clientcas")) {
		data, name, ok := d.file(file)
		if !ok {
			d.missing("tls", "http.tls.clientcas", name+" cannot be read: give it as a FILE too; without it clients need no certificate")
			continue
		}
		if _, err := cert.ParseCAs(data); err != nil {
			d.missing("tls", "http.tls.clientcas", fmt.Sprintf("%s: %v", path.Base(name), err))
			continue
		}
		cas = append(cas, block(onlyPEM(data, "CERTIFICATE")))
	}
	if cas == nil {
		return
	}
	d.out.set(mode, "tls", "clientAuth", "mode")
	d.out.set(cas, "tls", "clientAuth", "cas")
	d.out.set([]any{pairsOf("match", "any", "user", "client")}, "auth", "clientCertificates")
	d.note("auth", "every certificate of the client CA is let in as the user client: name them apart with match, such as CN=ci-*")
}
