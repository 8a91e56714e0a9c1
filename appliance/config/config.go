// Package config is the appliance's configuration: its types, how a document
// becomes one, and what makes one valid.
package config

import "time"

// Secret is a value that no message, plan or page may show. It is the secret
// itself, or where it is kept: "file:PATH", or "cred:NAME" for a systemd
// credential of redoubt-apply.service.
type Secret string

// Config is the whole configuration, the value of the redoubt: key.
type Config struct {
	Hostname      string         `yaml:"hostname"`
	Aliases       []string       `yaml:"aliases"`
	Nodes         int            `yaml:"nodes"`
	HTTPSecret    Secret         `yaml:"httpSecret"`
	Listen        Listen         `yaml:"listen"`
	TLS           TLS            `yaml:"tls"`
	Auth          Auth           `yaml:"auth"`
	Storage       Storage        `yaml:"storage"`
	Cache         Cache          `yaml:"cache"`
	Mirrors       []Mirror       `yaml:"mirrors"`
	Health        Health         `yaml:"health"`
	GC            GC             `yaml:"gc"`
	Retention     []Retention    `yaml:"retention"`
	Notifications []Notification `yaml:"notifications"`
	Log           Log            `yaml:"log"`
	Metrics       Metrics        `yaml:"metrics"`
	Alerts        Alerts         `yaml:"alerts"`
	Firewall      Firewall       `yaml:"firewall"`
	Environment   []Variable     `yaml:"environment"`
	Registry      map[string]any `yaml:"registry"`
}

// Listen is what the registry answers on.
type Listen struct {
	HTTPSPort    int           `yaml:"httpsPort"`
	HTTPPort     int           `yaml:"httpPort"`
	DrainTimeout time.Duration `yaml:"drainTimeout"`
	HTTP2        bool          `yaml:"http2"`
	Headers      []Header      `yaml:"headers"`
}

// Header is a response header added to every answer.
type Header struct {
	Name   string   `yaml:"name"`
	Values []string `yaml:"values"`
}

// TLS says where the server's certificate comes from.
type TLS struct {
	Mode       string     `yaml:"mode"` // acme | internal-ca | files | off
	MinVersion string     `yaml:"minVersion"`
	ACME       ACME       `yaml:"acme"`
	InternalCA InternalCA `yaml:"internalCA"`
	Files      KeyPair    `yaml:"files"`
	ClientAuth ClientAuth `yaml:"clientAuth"`
}

type ACME struct {
	Email     string `yaml:"email"`
	Directory string `yaml:"directory"`
	Profile   string `yaml:"profile"`
	EAB       EAB    `yaml:"eab"`
	CABundle  string `yaml:"caBundle"`
	Fallback  string `yaml:"fallback"`
}

type EAB struct {
	KeyID   string `yaml:"keyID"`
	HMACKey Secret `yaml:"hmacKey"`
}

// InternalCA is the machine's own certificate authority.
type InternalCA struct {
	Certificate  string        `yaml:"certificate"`
	PrivateKey   Secret        `yaml:"privateKey"`
	LeafValidity time.Duration `yaml:"leafValidity"`
}

type KeyPair struct {
	Certificate string `yaml:"certificate"`
	PrivateKey  Secret `yaml:"privateKey"`
}

type ClientAuth struct {
	Mode string   `yaml:"mode"` // none | optional | required
	CAs  []string `yaml:"cas"`
	CRLs []string `yaml:"crls"`
}

// Auth is who may use the registry.
type Auth struct {
	Realm              string              `yaml:"realm"`
	Anonymous          string              `yaml:"anonymous"` // none | pull
	Users              []User              `yaml:"users"`
	ClientCertificates []ClientCertificate `yaml:"clientCertificates"`
	ACL                []Rule              `yaml:"acl"`
}

// User is a login. Exactly one of PasswordHash (bcrypt) and Password is set.
type User struct {
	Name         string   `yaml:"name"`
	PasswordHash Secret   `yaml:"passwordHash"`
	Password     Secret   `yaml:"password"`
	Groups       []string `yaml:"groups"`
}

type ClientCertificate struct {
	Match  string   `yaml:"match"`
	User   string   `yaml:"user"`
	Groups []string `yaml:"groups"`
}

type Rule struct {
	Users        []string `yaml:"users"`
	Groups       []string `yaml:"groups"`
	Anonymous    bool     `yaml:"anonymous"`
	Repositories []string `yaml:"repositories"`
	Actions      []string `yaml:"actions"`
}

// Storage is where images live: exactly one of its fields is set.
type Storage struct {
	Filesystem *Filesystem `yaml:"filesystem"`
	S3         *S3         `yaml:"s3"`
}

type Filesystem struct {
	Root string `yaml:"root"`
}

type S3 struct {
	Bucket    string `yaml:"bucket"`
	Region    string `yaml:"region"`
	Endpoint  string `yaml:"endpoint"`
	AccessKey Secret `yaml:"accessKey"`
	SecretKey Secret `yaml:"secretKey"`
	IAMRole   bool   `yaml:"iamRole"`
	Root      string `yaml:"root"`
	Redirect  bool   `yaml:"redirect"`
	Encrypt   bool   `yaml:"encrypt"`
	KMSKeyID  string `yaml:"kmsKeyID"`
}

// Cache is the blob-descriptor cache.
type Cache struct {
	Type  string `yaml:"type"` // redis | memory | none
	Size  int    `yaml:"size"` // descriptors, for memory
	Redis Redis  `yaml:"redis"`
}

type Redis struct {
	Address string `yaml:"address"` // empty: the machine's own
}

type Mirror struct {
	Name     string        `yaml:"name"`
	Upstream string        `yaml:"upstream"`
	Prefix   string        `yaml:"prefix"`
	Username string        `yaml:"username"`
	Password Secret        `yaml:"password"`
	TTL      time.Duration `yaml:"ttl"`
}

type Health struct {
	Storage StorageHealth `yaml:"storage"`
}

type StorageHealth struct {
	Interval  time.Duration `yaml:"interval"`
	Threshold int           `yaml:"threshold"`
}

type GC struct {
	Schedule       string `yaml:"schedule"`
	RemoveUntagged bool   `yaml:"removeUntagged"`
}

type Retention struct {
	Name         string   `yaml:"name"`
	Repositories []string `yaml:"repositories"`
}

type Notification struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
}

type Log struct {
	Level     string     `yaml:"level"`  // debug | info | warn | error
	Format    string     `yaml:"format"` // json | text
	AccessLog bool       `yaml:"accessLog"`
	Fields    []LogField `yaml:"fields"`
}

type LogField struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

type Metrics struct {
	Listen string `yaml:"listen"` // a loopback address and port
}

type Alerts struct {
	Webhook Secret `yaml:"webhook"`
}

type Firewall struct {
	Metadata string `yaml:"metadata"` // root-only
}

// Variable is one REGISTRY_* setting in the stock registry's own words.
type Variable struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}
