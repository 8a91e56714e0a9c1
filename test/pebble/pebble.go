// Package pebble runs Pebble, an ACME CA for tests, on loopback addresses,
// with a DNS server that finds every name on this machine.
package pebble

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/redoubt-registry/redoubt/test/program"
)

// Options are how the CA behaves.
type Options struct {
	HTTPPort  int                                                                  // where it asks for answers to http-01; 0: nobody is there
	Fresh     bool                                                                 // each order is validated: no authorization is used again
	BadNonces int                                                                  // percent of nonces that it refuses
	Profiles  map[string]Profile                                                   // nil: default, tlsserver and shortlived
	EAB       map[string]string                                                    // key identifiers with their MAC keys: a binding is required
	Block     []string                                                             // names that it refuses
	Address   string                                                               // of the DNS answers; empty: 127.0.0.1
	Seen      string                                                               // its own address, where that is another one for its clients
	DNS       string                                                               // host:port of the name server that it asks; empty: one of its own
	Network   int                                                                  // a process whose network namespace it runs in; 0: this one's
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // into that
}

// Profile is a certificate profile.
type Profile struct {
	Description    string `json:"description"`
	ValidityPeriod int    `json:"validityPeriod"` // seconds
}

// Owner is what a CA belongs to and ends with: a test, or a program.
type Owner interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// CA is a running Pebble.
type CA struct {
	Directory string // its URL
	Roots     string // PEM that its server's certificate is checked with
	t         Owner
	options   Options
	dir       string
	port      int
	manage    int
	dns       int
	names     int    // where the DNS server is told of names
	end       func() // of Pebble
}

// Start starts a CA that ends with its owner.
func Start(t Owner, o Options) *CA {
	t.Helper()
	port := func() int { return program.FreePort(t, "127.0.0.1") }
	c := &CA{t: t, options: o, dir: t.TempDir(), port: port(), manage: port(), dns: port(), names: port()}
	if o.HTTPPort == 0 {
		c.options.HTTPPort = port()
	}
	c.Directory = "https://" + net.JoinHostPort(cmp.Or(o.Seen, "127.0.0.1"), strconv.Itoa(c.port)) + "/dir"
	c.certify()
	c.run(exec.Command(program.Tool(t, "pebble", "pebble-challtestsrv"), "-defaultIPv4", cmp.Or(o.Address, "127.0.0.1"), "-defaultIPv6", "",
		"-dnsserver", "127.0.0.1:"+strconv.Itoa(c.dns), "-management", "127.0.0.1:"+strconv.Itoa(c.names),
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""))
	c.Restart()
	c.awaitNames()
	return c
}

// awaitNames waits for the server that is told of names.
func (c *CA) awaitNames() {
	c.t.Helper()
	client := c.namesClient()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get("http://127.0.0.1:" + strconv.Itoa(c.names))
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the DNS server does not answer: %v", err)
		}
	}
}

func (c *CA) namesClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.options.Dial, DisableKeepAlives: true}}
}

// Stop ends the CA; Restart starts it again. It forgets all.
func (c *CA) Stop() {
	if c.end != nil {
		c.end()
	}
}

// Restart starts a CA that knows nothing of before.
func (c *CA) Restart() {
	c.t.Helper()
	c.Stop()
	config := c.config()
	path := filepath.Join(c.dir, "pebble.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(program.Tool(c.t, "pebble", "pebble"), "-config", path, "-dnsserver", cmp.Or(c.options.DNS, "127.0.0.1:"+strconv.Itoa(c.dns)), "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT="+strconv.Itoa(c.options.BadNonces))
	if c.options.Fresh {
		cmd.Env = append(cmd.Env, "PEBBLE_AUTHZREUSE=0")
	}
	c.end = c.run(cmd)
	client := c.Client()
	directory := "https://127.0.0.1:" + strconv.Itoa(c.port) + "/dir"
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := client.Get(directory)
		if err == nil {
			response.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			c.t.Fatalf("Pebble does not answer: %v\n%s", err, log)
		}
	}
}

func (c *CA) config() []byte {
	profiles := c.options.Profiles
	if profiles == nil {
		profiles = map[string]Profile{
			"default":    {"as ever", 90 * 24 * 3600},
			"tlsserver":  {"for servers", 45 * 24 * 3600},
			"shortlived": {"for addresses too", 160 * 3600},
		}
	}
	data, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":                  "127.0.0.1:" + strconv.Itoa(c.port),
		"managementListenAddress":        "127.0.0.1:" + strconv.Itoa(c.manage),
		"certificate":                    filepath.Join(c.dir, "tls.crt"),
		"privateKey":                     filepath.Join(c.dir, "tls.key"),
		"httpPort":                       c.options.HTTPPort,
		"tlsPort":                        1,
		"externalAccountBindingRequired": len(c.options.EAB) > 0,
		"externalAccountMACKeys":         c.options.EAB,
		"domainBlocklist":                append([]string{"blocked-domain.example"}, c.options.Block...),
		"retryAfter":                     map[string]int{"authz": 1, "order": 1},
		"keyAlgorithm":                   "ecdsa",
		"profiles":                       profiles,
	}})
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// run starts a program that ends with the owner, or when end is called.
func (c *CA) run(cmd *exec.Cmd) (end func()) {
	c.t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.options.Network != 0 {
		cmd.Args = append([]string{"nsenter", "--net=/proc/" + strconv.Itoa(c.options.Network) + "/ns/net", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/nsenter"
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The death signal follows the thread that forked, so it must live as long.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		c.t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	}
	c.t.Cleanup(end)
	return end
}

// Client trusts the CA's own server.
func (c *CA) Client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Roots))
	return &http.Client{Transport: &http.Transport{DialContext: c.options.Dial, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
}

// Log is what Pebble printed.
func (c *CA) Log() string {
	data, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// Issuers are the roots of what the CA issues.
func (c *CA) Issuers() *x509.CertPool {
	c.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.Issuer())
	return pool
}

// Issuer is the root of what the CA issues, as PEM.
func (c *CA) Issuer() []byte { return c.managed(http.MethodGet, "/roots/0", nil) }

// Suggest makes the CA answer questions of when to renew chain with a document.
func (c *CA) Suggest(chain []byte, document string) {
	c.t.Helper()
	body, err := json.Marshal(map[string]string{"Certificate": string(chain), "ARIResponse": document})
	if err != nil {
		c.t.Fatal(err)
	}
	c.managed(http.MethodPost, "/set-renewal-info/", body)
}

// Resolve makes the CA find a name at addresses. It asks the first of them.
func (c *CA) Resolve(name string, addresses ...string) {
	c.t.Helper()
	client := c.namesClient()
	for _, call := range []struct {
		path string
		body map[string]any
	}{
		{"/clear-a", map[string]any{"host": name + "."}},
		{"/add-a", map[string]any{"host": name + ".", "addresses": addresses}},
	} {
		body, err := json.Marshal(call.body)
		if err != nil {
			c.t.Fatal(err)
		}
		response, err := client.Post("http://127.0.0.1:"+strconv.Itoa(c.names)+call.path, "application/json", bytes.NewReader(body))
		if err != nil {
			c.t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			c.t.Fatalf("%s: %s", call.path, response.Status)
		}
	}
}

func (c *CA) managed(method, path string, body []byte) []byte {
	c.t.Helper()
	url := "https://127.0.0.1:" + strconv.Itoa(c.manage) + path
	request, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.Client().Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s %v\n%s", method, path, response.Status, err, data)
	}
	return data
}

// certify makes the pair of the CA's own server.
func (c *CA) certify() {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Pebble's own server"},
		NotBefore: time.Now().Add(-400 * 24 * time.Hour), NotAfter: time.Now().Add(4000 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if seen := net.ParseIP(c.options.Seen); seen != nil {
		template.IPAddresses = append(template.IPAddresses, seen)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Roots = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for name, data := range map[string][]byte{
		"tls.crt": []byte(c.Roots), "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}
