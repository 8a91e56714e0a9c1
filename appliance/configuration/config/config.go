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
	Hostname      string         `yaml:"hostname" jsonschema:"required,minLength=1,maxLength=253" jsonschema_description:"The name or the IP address that clients use. The only required key."`
	Aliases       []string       `yaml:"aliases" jsonschema_description:"Further names and IP addresses of this machine; the certificate has them too."`
	Nodes         int            `yaml:"nodes" jsonschema:"minimum=1" jsonschema_description:"How many machines serve the same storage. More than one need a bucket, the same httpSecret, and a certificate that they share."`
	HTTPSecret    Secret         `yaml:"httpSecret" jsonschema_description:"Signs the state of uploads. Made and kept by the machine when empty; several machines need the same."`
	Listen        Listen         `yaml:"listen" jsonschema_description:"What the registry answers on."`
	TLS           TLS            `yaml:"tls" jsonschema_description:"Where the server's certificate comes from."`
	Auth          Auth           `yaml:"auth" jsonschema_description:"Who may use the registry."`
	Storage       Storage        `yaml:"storage" jsonschema_description:"Where images live: exactly one of filesystem and s3."`
	Cache         Cache          `yaml:"cache" jsonschema_description:"The cache of blob descriptors."`
	Mirrors       []Mirror       `yaml:"mirrors" jsonschema_description:"Registries that this one is a pull-through cache of."`
	Health        Health         `yaml:"health" jsonschema_description:"How the registry checks itself."`
	GC            GC             `yaml:"gc" jsonschema_description:"Garbage collection."`
	Retention     Retention      `yaml:"retention" jsonschema_description:"Which tags to keep. The others go to the trash with each garbage collection."`
	Immutable     []Immutable    `yaml:"immutable" jsonschema_description:"Tags that are written once: another image under such a tag is refused, and only who may do all (admin) deletes one."`
	Backup        Backup         `yaml:"backup" jsonschema_description:"Where the machine backs itself up to."`
	Quotas        []Quota        `yaml:"quotas" jsonschema_description:"What repositories may take together. A push over it is refused."`
	Notifications []Notification `yaml:"notifications" jsonschema_description:"Endpoints that are told of pushes, pulls and deletions, by signed requests that wait on the disk until they are delivered."`
	Log           Log            `yaml:"log" jsonschema_description:"What the journal gets."`
	Metrics       Metrics        `yaml:"metrics" jsonschema_description:"Prometheus metrics."`
	Audit         Audit          `yaml:"audit" jsonschema_description:"Who did what to what. It is always in the journal."`
	Alerts        Alerts         `yaml:"alerts" jsonschema_description:"Who is told when something fails."`
	Proxy         Outbound       `yaml:"proxy" jsonschema_description:"The HTTP proxy through which the machine reaches what is outside: the ACME CA, the bucket, issuers of ID tokens, the webhook of alerts. It never takes part in what clients ask of the machine."`
	Firewall      Firewall       `yaml:"firewall" jsonschema_description:"What local processes may reach."`
	Environment   []Variable     `yaml:"environment" jsonschema_description:"REGISTRY_* settings in the stock registry's own words, laid on the rendered configuration. Compose's map and its list of NAME=VALUE are taken as they are."`
	Registry      map[string]any `yaml:"registry" jsonschema_description:"An overlay in the words of distribution's config.yml, laid on last; null takes a setting away."`
}

// Listen is what the registry answers on.
type Listen struct {
	HTTPSPort    int           `yaml:"httpsPort" jsonschema:"minimum=1,maximum=65535" jsonschema_description:"The TLS port."`
	HTTPPort     int           `yaml:"httpPort" jsonschema:"minimum=0,maximum=65535" jsonschema_description:"The port that redirects to TLS; 0 is off."`
	DrainTimeout time.Duration `yaml:"drainTimeout" jsonschema_description:"How long a stop waits for requests in flight: 1s to 1h."`
	HTTP2        bool          `yaml:"http2" jsonschema_description:"Whether HTTP/2 is offered."`
	Headers      []Header      `yaml:"headers" jsonschema_description:"Response headers added to every answer."`
	Proxy        Proxy         `yaml:"proxy" jsonschema_description:"What stands before the registry, such as nginx or HAProxy."`
}

// Proxy is what stands before the registry.
type Proxy struct {
	Trust []string `yaml:"trust" jsonschema_description:"The proxies' networks, such as 10.0.0.5/32. Of these alone the PROXY protocol (versions 1 and 2) and X-Forwarded-For, -Proto and -Host are believed, and with tls.mode off they alone are answered, besides this machine."`
}

// Header is a response header added to every answer.
type Header struct {
	Name   string   `yaml:"name" jsonschema:"required,minLength=1" jsonschema_description:"The header's name."`
	Values []string `yaml:"values" jsonschema:"required,minItems=1" jsonschema_description:"Its values, one header line each."`
}

// TLS says where the server's certificate comes from.
type TLS struct {
	Mode       string     `yaml:"mode" jsonschema:"enum=internal-ca,enum=acme,enum=files,enum=off" jsonschema_description:"internal-ca: the machine's own CA. files: a certificate of your own. acme: certificates from an ACME CA, such as Let's Encrypt. off: plain HTTP on loopback, and to the proxies of listen.proxy."`
	MinVersion string     `yaml:"minVersion" jsonschema:"enum=1.2,enum=1.3" jsonschema_description:"The lowest version of TLS."`
	ACME       ACME       `yaml:"acme" jsonschema_description:"Certificates from an ACME CA, for mode acme. The CA asks this machine on port 80, unless dns is set."`
	InternalCA InternalCA `yaml:"internalCA" jsonschema_description:"The machine's own certificate authority."`
	Files      KeyPair    `yaml:"files" jsonschema_description:"A certificate of your own, for mode files. It is read again when its files change."`
	ClientAuth ClientAuth `yaml:"clientAuth" jsonschema_description:"Client certificates."`
}

// ACME is an account with a certificate authority (RFC 8555).
type ACME struct {
	Email     string `yaml:"email" jsonschema_description:"Contact address of the account. It may be left out."`
	Directory string `yaml:"directory" jsonschema_description:"URL of the CA's directory. Empty is Let's Encrypt."`
	Profile   string `yaml:"profile" jsonschema_description:"Certificate profile to ask for. Empty: shortlived for IP addresses, else tlsserver, where the CA offers them."`
	EAB       EAB    `yaml:"eab" jsonschema_description:"External account binding, where the CA asks for one."`
	DNS       DNS01  `yaml:"dns" jsonschema_description:"Prove the names by records of the DNS (dns-01) instead of by answers on port 80: for names that the CA cannot reach, and for wildcards. At most one of rfc2136 and hook."`
	CABundle  string `yaml:"caBundle" jsonschema_description:"The CAs that the ACME server's own certificate is checked with, in PEM, or file:PATH. Empty: those of the system."`
	Fallback  string `yaml:"fallback" jsonschema:"enum=internal-ca" jsonschema_description:"What serves while there is no certificate: the machine's own CA."`
}

// DNS01 is how names are proven by records of the DNS (RFC 8555, 8.4). At most one of
// RFC2136 and Hook is set.
type DNS01 struct {
	RFC2136     RFC2136       `yaml:"rfc2136" jsonschema_description:"A name server that takes updates (RFC 2136): BIND, Knot DNS, PowerDNS, Windows."`
	Hook        DNSHook       `yaml:"hook" jsonschema_description:"A web service that makes the records, by the requests that lego calls httpreq."`
	Nameservers []string      `yaml:"nameservers" jsonschema_description:"Name servers that are asked whether they have the record before the CA is asked to look, such as 192.0.2.53. Empty: those of the zone."`
	Wait        time.Duration `yaml:"wait" jsonschema_description:"How long these may take to have it: up to 3m. 0s: they are not asked."`
}

// RFC2136 is a name server that takes updates, signed with a key (TSIG, RFC 8945).
type RFC2136 struct {
	Server    string `yaml:"server" jsonschema_description:"Its host or host:port, such as ns1.example.com; 53 is the usual port. Empty: none."`
	Zone      string `yaml:"zone" jsonschema_description:"The zone that is updated. Empty: the server is asked for it."`
	KeyName   string `yaml:"keyName" jsonschema_description:"The name of the key (TSIG). Required with server."`
	Algorithm string `yaml:"algorithm" jsonschema:"enum=hmac-sha256,enum=hmac-sha224,enum=hmac-sha384,enum=hmac-sha512" jsonschema_description:"The key's algorithm."`
	Secret    Secret `yaml:"secret" jsonschema_description:"The key itself in base64, as tsig-keygen and keymgr print it, or file:PATH or cred:NAME. Required with server."`
}

// DNSHook is a web service that makes records.
type DNSHook struct {
	URL      string `yaml:"url" jsonschema_description:"Its https URL: {\"fqdn\": …, \"value\": …} is posted to URL/present and afterwards to URL/cleanup. Empty: none."`
	Username string `yaml:"username" jsonschema_description:"The user to log in as (HTTP Basic)."`
	Password Secret `yaml:"password" jsonschema_description:"The password to log in with, or file:PATH or cred:NAME."`
	CABundle string `yaml:"caBundle" jsonschema_description:"The CAs that its certificate is checked with instead of those of the system, in PEM, or file:PATH."`
}

// EAB is an external account binding (RFC 8555, 7.3.4).
type EAB struct {
	KeyID   string `yaml:"keyID" jsonschema_description:"The key identifier that the CA gave."`
	HMACKey Secret `yaml:"hmacKey" jsonschema_description:"The MAC key that the CA gave, in base64url."`
}

// InternalCA is the machine's own certificate authority.
type InternalCA struct {
	Certificate  string        `yaml:"certificate" jsonschema_description:"A CA of your own instead of the machine's: its certificate in PEM, or file:PATH. Those above it may follow it."`
	PrivateKey   Secret        `yaml:"privateKey" jsonschema_description:"Its private key in PEM, or file:PATH."`
	LeafValidity time.Duration `yaml:"leafValidity" jsonschema_description:"How long a server certificate is valid: 1h to 19800h."`
}

// KeyPair is a certificate and its key, both PEM.
type KeyPair struct {
	Certificate string `yaml:"certificate" jsonschema_description:"The server's certificate in PEM, or file:PATH, and after it each issuer but the root."`
	PrivateKey  Secret `yaml:"privateKey" jsonschema_description:"Its private key in PEM without a passphrase, or file:PATH."`
}

// ClientAuth is how client certificates are asked for.
type ClientAuth struct {
	Mode string   `yaml:"mode" jsonschema:"enum=none,enum=optional,enum=required" jsonschema_description:"Whether a client needs a certificate: none, optional or required. The machine's own client CA (redoubt ca client) counts always."`
	CAs  []string `yaml:"cas" jsonschema_description:"Further CAs of client certificates: PEM, or file:PATH."`
	CRLs []string `yaml:"crls" jsonschema_description:"Revocation lists of those CAs: PEM, or file:PATH. A file is read again when it changes."`
}

// Auth is who may use the registry.
type Auth struct {
	Realm              string              `yaml:"realm" jsonschema:"minLength=1,maxLength=100" jsonschema_description:"The realm that a client is asked to log in to."`
	Anonymous          string              `yaml:"anonymous" jsonschema:"enum=none,enum=pull" jsonschema_description:"What goes without a login. none: nothing. pull: to pull, from every repository, or with acl from those of the rules that say anonymous."`
	Htpasswd           string              `yaml:"htpasswd,omitempty" jsonschema_description:"More logins: whole lines as htpasswd -nBC 10 prints them, below a |. Only bcrypt hashes are taken. Each line is a user as those of users are."`
	Users              []User              `yaml:"users" jsonschema_description:"The logins."`
	ClientCertificates []ClientCertificate `yaml:"clientCertificates" jsonschema_description:"Logins by client certificate. The first one that matches counts."`
	OIDC               OIDC                `yaml:"oidc" jsonschema_description:"Logins by ID tokens, without a password here."`
	Robots             []Robot             `yaml:"robots" jsonschema_description:"Logins of machines by tokens. Others are made on the machine, by redoubt token create."`
	LDAP               LDAP                `yaml:"ldap" jsonschema_description:"Logins of a directory: OpenLDAP, FreeIPA, Active Directory. Users of auth.users come first, and log in while it is down."`
	ACL                []Rule              `yaml:"acl" jsonschema_description:"Who may do what, as rules that allow: what none allows is refused. Without rules every login may do all."`
}

// User is a login. Exactly one of PasswordHash (bcrypt) and Password is set.
type User struct {
	Name         string   `yaml:"name" jsonschema:"required,minLength=1,maxLength=255" jsonschema_description:"The login's name, without a colon."`
	PasswordHash Secret   `yaml:"passwordHash" jsonschema_description:"The password's bcrypt hash, as htpasswd -nBC 10 prints it. Exactly one of passwordHash and password."`
	Password     Secret   `yaml:"password" jsonschema_description:"The password itself, at most 72 bytes. Prefer passwordHash."`
	Groups       []string `yaml:"groups" jsonschema_description:"The groups that the user is in, for acl."`
}

// ClientCertificate maps client certificates to a user.
type ClientCertificate struct {
	Match  string   `yaml:"match" jsonschema:"required,minLength=1" jsonschema_description:"Pattern of the certificate's subject: CN, O and OU, such as CN=ci-*,O=Example. A * stands for any text. The word any matches every certificate that counts."`
	User   string   `yaml:"user" jsonschema:"required,minLength=1,maxLength=255" jsonschema_description:"The user it logs in, who needs no password and no entry in users."`
	Groups []string `yaml:"groups" jsonschema_description:"The groups that such a client is in, for acl, beside those of the user of that name in users."`
}

// Robot is the login of a machine by a token, of which the hash is here.
type Robot struct {
	Name         string   `yaml:"name" jsonschema:"required,maxLength=100,pattern=^[A-Za-z0-9][A-Za-z0-9._-]*$" jsonschema_description:"The robot's name, which it logs in with. In acl and in the audit log it is the user robot:NAME."`
	TokenHash    string   `yaml:"tokenHash" jsonschema:"required,pattern=^sha256:[0-9a-f]{64}$" jsonschema_description:"The hash of its token, as redoubt token create --hash prints it. The token itself must not stand here."`
	Expires      string   `yaml:"expires" jsonschema_description:"When the token ends: the day, in quotes, with whose beginning in UTC it does, or a time such as 2027-01-01T08:00:00Z. Empty: it does not by itself."`
	Groups       []string `yaml:"groups" jsonschema_description:"The groups that the robot is in, for acl."`
	Repositories []string `yaml:"repositories" jsonschema_description:"Patterns of the repositories that the token is for, as in acl. It may do there what acl allows, and nothing elsewhere. Empty: all."`
	Actions      []string `yaml:"actions" jsonschema:"pattern=^(pull|push|delete|admin)$" jsonschema_description:"The actions that the token is for, as in acl. Empty: all that acl allows."`
}

// OIDC is whose ID tokens (OpenID Connect) log in.
type OIDC struct {
	Trust []Trust `yaml:"trust" jsonschema_description:"Whose ID tokens are taken as the password of the user oidc, such as those of GitHub Actions, GitLab CI and Kubernetes service accounts. The first item that matches counts."`
}

// Trust lets ID tokens of one issuer in.
type Trust struct {
	Issuer   string            `yaml:"issuer" jsonschema:"required,minLength=1" jsonschema_description:"URL of the issuer, as its tokens have it, such as https://token.actions.githubusercontent.com. The machine fetches its keys from there."`
	Audience string            `yaml:"audience" jsonschema:"required,minLength=1" jsonschema_description:"What tokens must be made for, such as this registry's name: one for another service must not log in here."`
	Match    map[string]string `yaml:"match" jsonschema:"required,minProperties=1" jsonschema_description:"What claims of a token must be like, all of them: claim: pattern, such as repository: example/*. A * stands for any text without a slash, ** for any text. A claim inside another is written with a dot: kubernetes.io.namespace."`
	User     string            `yaml:"user" jsonschema:"required,minLength=1,maxLength=255" jsonschema_description:"The user that such a token logs in. It may have a claim in it, after text of your own: github-{repository_owner}."`
	Groups   []string          `yaml:"groups" jsonschema_description:"The groups of that user, for acl. Each may have a claim in it, after text of your own: k8s-{kubernetes.io.namespace}."`
	CABundle string            `yaml:"caBundle" jsonschema_description:"The CAs that the issuer's certificate is checked with instead of those of the system, in PEM, or file:PATH."`
}

// LDAP is a directory whose users log in (RFC 4511).
type LDAP struct {
	Servers       []string      `yaml:"servers" jsonschema_description:"URLs of its servers, such as ldaps://ldap.example.com. The first one that answers is asked. Empty: no directory."`
	StartTLS      bool          `yaml:"startTLS" jsonschema_description:"Whether connections to servers that are ldap:// turn to TLS before anything else. Without it only a server on this machine is taken."`
	CABundle      string        `yaml:"caBundle" jsonschema_description:"The CAs that the servers' certificates are checked with instead of those of the system, in PEM, or file:PATH."`
	BindDN        string        `yaml:"bindDN" jsonschema_description:"The DN, or in Active Directory also user@domain, of the login that searches. Empty: everybody may."`
	Password      Secret        `yaml:"password" jsonschema_description:"Its password, or file:PATH or cred:NAME."`
	UserBase      string        `yaml:"userBase" jsonschema_description:"The DN below which users are, such as ou=people,dc=example,dc=com."`
	UserAttribute string        `yaml:"userAttribute" jsonschema_description:"The attribute with the name that a user logs in by: uid, in Active Directory sAMAccountName."`
	UserFilter    string        `yaml:"userFilter" jsonschema_description:"What a user must match besides, such as (objectClass=person)."`
	Groups        string        `yaml:"groups" jsonschema:"enum=none,enum=memberOf,enum=groupOfNames,enum=activeDirectory" jsonschema_description:"Where a user's groups are. memberOf: in that attribute of the user. groupOfNames: in member and uniqueMember of groups, groups in groups too. activeDirectory: the same by its own matching rule. A group is called by its cn."`
	GroupBase     string        `yaml:"groupBase" jsonschema_description:"The DN below which groups are, for groupOfNames and activeDirectory."`
	Timeout       time.Duration `yaml:"timeout" jsonschema_description:"How long one login may take at one server: 1s to 30s."`
	Cache         time.Duration `yaml:"cache" jsonschema_description:"How long an answer counts: 10s to 1h. Whoever is taken out of the directory is out within it."`
}

// Rule allows actions on repositories to those whom one of Users, Groups and Anonymous
// means.
type Rule struct {
	Users        []string `yaml:"users" jsonschema_description:"Users it is for, also those of clientCertificates; * is everybody with a login."`
	Groups       []string `yaml:"groups" jsonschema_description:"Groups it is for. At least one of users, groups and anonymous is needed."`
	Anonymous    bool     `yaml:"anonymous" jsonschema_description:"Whether it is for everybody, with a login or without. Needs auth.anonymous pull, and pull as the only action."`
	Repositories []string `yaml:"repositories" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of repository names: * is one part between slashes, or some letters of one as in app-*; ** is one part or more. So team/** is all below team, but not team itself."`
	Actions      []string `yaml:"actions" jsonschema:"required,minItems=1,pattern=^(pull|push|delete|admin)$" jsonschema_description:"What is allowed: pull; push, which includes pull; delete, of tags, manifests and blobs; admin, which is all of these."`
}

// Storage is where images live: exactly one of Filesystem and S3 is set.
type Storage struct {
	Filesystem *Filesystem `yaml:"filesystem" jsonschema_description:"A directory of this machine."`
	S3         *S3         `yaml:"s3" jsonschema_description:"A bucket of an S3-compatible service."`

	AcceptEmpty bool `yaml:"acceptEmpty" jsonschema_description:"Whether another storage is taken up although images that clients had are not in it. Without it such a change is refused. For once: redoubt apply --accept-empty-storage."`
}

// Filesystem keeps images in a directory.
type Filesystem struct {
	Root string `yaml:"root" jsonschema:"minLength=2" jsonschema_description:"The directory, an absolute path."`
}

// S3 keeps images in a bucket. Either both keys are set or IAMRole is.
type S3 struct {
	Bucket    string `yaml:"bucket" jsonschema_description:"The bucket's name. Required."`
	Region    string `yaml:"region" jsonschema_description:"The bucket's region, such as eu-central-1. Required without endpoint."`
	Endpoint  string `yaml:"endpoint" jsonschema_description:"URL of a service other than AWS, without the bucket's name, such as https://sos-ch-dk-2.example.com. The bucket's name is then a part of the path of its URLs."`
	AccessKey Secret `yaml:"accessKey" jsonschema_description:"The access key's ID, or file:PATH or cred:NAME."`
	SecretKey Secret `yaml:"secretKey" jsonschema_description:"The secret access key, or file:PATH or cred:NAME."`
	IAMRole   bool   `yaml:"iamRole" jsonschema_description:"Whether the role of the machine is used instead of keys. Only root reaches the cloud's metadata service."`
	Root      string `yaml:"root" jsonschema_description:"Prefix of all objects in the bucket, such as registry. Empty is the bucket's top."`
	Redirect  bool   `yaml:"redirect" jsonschema_description:"Whether clients are sent to the bucket itself for blobs. They must be able to reach it. Where endpoint is http or private the default is false: several clients refuse to be sent there."`
	Encrypt   bool   `yaml:"encrypt" jsonschema_description:"Whether the service is asked to encrypt what it stores."`
	KMSKeyID  string `yaml:"kmsKeyID" jsonschema_description:"The KMS key to encrypt with, for encrypt. Empty: the service's own."`
	CABundle  string `yaml:"caBundle" jsonschema_description:"The CAs that the service's certificate is checked with beside those of the system, in PEM, or file:PATH."`
}

// Cache is the blob-descriptor cache.
type Cache struct {
	Type  string `yaml:"type" jsonschema:"enum=redis,enum=memory,enum=none" jsonschema_description:"redis: the machine's own Redis, or the one at redis.address. memory: inside the registry."`
	Size  int    `yaml:"size" jsonschema:"minimum=100,maximum=10000000" jsonschema_description:"How many descriptors the memory cache holds."`
	Redis Redis  `yaml:"redis" jsonschema_description:"A Redis elsewhere, for type redis. Several machines can share one."`
}

// Redis is where the redis cache is.
type Redis struct {
	Address  string `yaml:"address" jsonschema_description:"Its host:port. Empty is the machine's own."`
	Username string `yaml:"username" jsonschema_description:"The user to log in as. Empty is Redis's default user."`
	Password Secret `yaml:"password" jsonschema_description:"The password to log in with, or file:PATH or cred:NAME."`
	TLS      bool   `yaml:"tls" jsonschema_description:"Whether the connection is TLS."`
	CABundle string `yaml:"caBundle" jsonschema_description:"The CAs that its certificate is checked with instead of those of the system, in PEM, or file:PATH; for tls."`
}

// Mirror is a registry that this one is a pull-through cache of.
type Mirror struct {
	Name     string        `yaml:"name" jsonschema_description:"What the mirror is called."`
	Upstream string        `yaml:"upstream" jsonschema_description:"URL of the registry."`
	Prefix   string        `yaml:"prefix" jsonschema_description:"Where its repositories appear."`
	Username string        `yaml:"username" jsonschema_description:"Login there."`
	Password Secret        `yaml:"password" jsonschema_description:"Password there."`
	TTL      time.Duration `yaml:"ttl" jsonschema_description:"How long an image is kept."`
}

// Health is how the registry checks itself.
type Health struct {
	Storage StorageHealth `yaml:"storage" jsonschema_description:"The check of the storage."`
}

// StorageHealth is the check of the storage.
type StorageHealth struct {
	Interval  time.Duration `yaml:"interval" jsonschema_description:"Time between two checks: 1s to 1h."`
	Threshold int           `yaml:"threshold" jsonschema:"minimum=1,maximum=100" jsonschema_description:"Bad results in a row until the registry believes that the storage is worse. Two good ones are enough for better."`
}

// GC is garbage collection.
type GC struct {
	Schedule       string        `yaml:"schedule" jsonschema_description:"When, in the machine's time zone: hourly, daily, weekly or monthly, or a time with days of the week before it, such as 03:00, Sun 03:00 or Mon..Fri 01:30. At most half an hour later."`
	RemoveUntagged bool          `yaml:"removeUntagged" jsonschema_description:"Whether manifests go too that no tag, index or subject holds."`
	Grace          time.Duration `yaml:"grace" jsonschema_description:"What is younger stays, and so does what a push has named since: 1h to 8760h."`
	Trash          time.Duration `yaml:"trash" jsonschema_description:"How long what was deleted or collected can be taken back: 1h to 8760h."`
}

// Retention says which tags are kept.
type Retention struct {
	Enforce bool            `yaml:"enforce" jsonschema_description:"Whether rules count before somebody has looked at redoubt retention plan. Without it rules that nobody has seen the plan of delete nothing."`
	Rules   []RetentionRule `yaml:"rules" jsonschema_description:"What keeps a tag: all conditions of one of the rules. A tag that no rule is for stays."`
}

// RetentionRule keeps some tags of some repositories.
type RetentionRule struct {
	Repositories []string      `yaml:"repositories" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of repository names, as those of auth.acl."`
	Tags         []string      `yaml:"tags" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of the tags that the rule is for: * stands for any text."`
	Keep         int           `yaml:"keep" jsonschema:"minimum=0,maximum=100000" jsonschema_description:"The tag is among so many of a repository that were pushed last, of those that the rule is for. 0: that does not matter."`
	PushedWithin time.Duration `yaml:"pushedWithin" jsonschema_description:"It was pushed so long ago at most, such as 30d. 0s: that does not matter."`
	PulledWithin time.Duration `yaml:"pulledWithin" jsonschema_description:"It was pulled, or pushed, so long ago at most, such as 90d. 0s: that does not matter."`
	Protect      []string      `yaml:"protect" jsonschema_description:"Patterns of tags in these repositories that stay, whatever any rule says."`
}

// Immutable says which tags are written once.
type Immutable struct {
	Repositories []string `yaml:"repositories" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of repository names, as those of auth.acl."`
	Tags         []string `yaml:"tags" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of tags, such as v*: * stands for any text."`
	Except       []string `yaml:"except" jsonschema_description:"Patterns of tags that the rule leaves out, such as *-rc*."`
}

// Backup is where the machine backs itself up to.
type Backup struct {
	To         BackupPlace `yaml:"to" jsonschema_description:"The place: one of directory and s3. Without one there is no backup."`
	Schedule   string      `yaml:"schedule" jsonschema_description:"When, in the words of gc.schedule. At most half an hour later."`
	Keep       int         `yaml:"keep" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"How many snapshots are kept. The oldest beyond that go, with what no other needs."`
	Recipients []string    `yaml:"recipients" jsonschema_description:"Who can read the backup: public keys of age, as age-keygen prints them. The machine itself cannot. Keep the private key elsewhere: without it nobody restores anything."`
	Images     bool        `yaml:"images" jsonschema_description:"Whether the images go there too. Without them there is what the machine keeps alone: configuration, authorities, secrets."`
}

// BackupPlace is where backups lie. Directory, or the bucket of S3, is set; else there is
// none.
type BackupPlace struct {
	Directory string       `yaml:"directory" jsonschema_description:"A directory that exists, best on a disk or a server of its own, such as /mnt/backup/redoubt. The images of the machine are lost with its disk."`
	S3        BackupBucket `yaml:"s3" jsonschema_description:"A bucket of an S3-compatible service."`
}

// BackupBucket is a bucket for backups. Its keys are as those of S3.
type BackupBucket struct {
	Bucket    string `yaml:"bucket" jsonschema_description:"The bucket's name."`
	Region    string `yaml:"region" jsonschema_description:"The bucket's region. Required without endpoint."`
	Endpoint  string `yaml:"endpoint" jsonschema_description:"URL of a service other than AWS, without the bucket's name."`
	AccessKey Secret `yaml:"accessKey" jsonschema_description:"The access key's ID, or file:PATH or cred:NAME."`
	SecretKey Secret `yaml:"secretKey" jsonschema_description:"The secret access key, or file:PATH or cred:NAME."`
	IAMRole   bool   `yaml:"iamRole" jsonschema_description:"Whether the role of the machine is used instead of keys."`
	Root      string `yaml:"root" jsonschema_description:"Prefix of all objects in the bucket, such as backup. Each machine needs its own."`
	CABundle  string `yaml:"caBundle" jsonschema_description:"The CAs that the service's certificate is checked with beside those of the system, in PEM, or file:PATH."`
}

// Quota is what some repositories may take together.
type Quota struct {
	Repositories []string `yaml:"repositories" jsonschema:"required,minItems=1" jsonschema_description:"Patterns of repository names, as those of auth.acl."`
	Size         string   `yaml:"size" jsonschema:"required" jsonschema_description:"How much they may take, such as 500GiB: 1MiB to 999999TiB. A blob that several of them have counts once."`
}

// Notification is an endpoint that is told of pushes, pulls and deletions.
type Notification struct {
	Name          string   `yaml:"name" jsonschema:"required,pattern=^[a-z0-9]([a-z0-9-]{0\\,61}[a-z0-9])?$" jsonschema_description:"What the endpoint is called: in metrics, alerts and status."`
	URL           Secret   `yaml:"url" jsonschema:"required,minLength=1" jsonschema_description:"Where events are posted. Required. It is kept secret. http is for private addresses. file:PATH and cred:NAME work too."`
	Format        string   `yaml:"format" jsonschema:"enum=distribution,enum=cloudevents" jsonschema_description:"distribution: the stock registry's envelope, with up to 100 events in a request. cloudevents: one CloudEvent 1.0 in a request. Empty is distribution."`
	Secret        Secret   `yaml:"secret" jsonschema_description:"What requests are signed with (HMAC-SHA256), at least 16 characters. Empty: they are not signed."`
	Authorization Secret   `yaml:"authorization" jsonschema_description:"The Authorization header of requests, such as Bearer and a token. Empty: none."`
	Repositories  []string `yaml:"repositories" jsonschema_description:"Patterns of repository names, as those of auth.acl. Empty: all."`
	Actions       []string `yaml:"actions" jsonschema:"enum=push,enum=pull,enum=delete" jsonschema_description:"What is told: push (mounts too), pull, delete. Empty: all."`
	CABundle      string   `yaml:"caBundle" jsonschema_description:"The CAs that the endpoint's certificate is checked with instead of those of the system, in PEM, or file:PATH."`
	Spool         string   `yaml:"spool" jsonschema_description:"How much waits on the data partition while the endpoint does not answer, such as 64MiB: 1MiB to 10GiB. What comes after that is lost, and counted. Empty: 64MiB."`
}

// Log is what the journal gets.
type Log struct {
	Level     string     `yaml:"level" jsonschema:"enum=debug,enum=info,enum=warn,enum=error" jsonschema_description:"The lowest level that is logged."`
	Format    string     `yaml:"format" jsonschema:"enum=json,enum=text" jsonschema_description:"The form of a line."`
	AccessLog bool       `yaml:"accessLog" jsonschema_description:"Whether every request is logged."`
	Fields    []LogField `yaml:"fields" jsonschema_description:"Fields added to every line."`
}

// LogField is a field added to every line.
type LogField struct {
	Name  string `yaml:"name" jsonschema:"required,minLength=1" jsonschema_description:"The field's name: letters, digits, _ . and -."`
	Value string `yaml:"value" jsonschema:"required" jsonschema_description:"Its value."`
}

// Metrics is where Prometheus fetches metrics.
type Metrics struct {
	Listen string      `yaml:"listen" jsonschema_description:"An address and a port: a loopback address, or with auth any, such as 0.0.0.0:9100."`
	Auth   MetricsAuth `yaml:"auth" jsonschema_description:"Who may read the metrics from elsewhere, over TLS with the machine's certificate: who has the token, or a certificate of one of clientCAs."`
}

// MetricsAuth is who may read the metrics.
type MetricsAuth struct {
	TokenHash string   `yaml:"tokenHash" jsonschema_description:"The SHA-256 hash of a bearer token: sha256: and 64 hexadecimal digits. The token itself should be random, as openssl rand -hex 32 prints it."`
	ClientCAs []string `yaml:"clientCAs" jsonschema_description:"CAs of client certificates: PEM, or file:PATH."`
}

// Audit is where the audit log goes beside the journal.
type Audit struct {
	File   AuditFile   `yaml:"file" jsonschema_description:"The audit log as a file on the data partition: /var/lib/redoubt/audit/audit.log."`
	Syslog AuditSyslog `yaml:"syslog" jsonschema_description:"A syslog server that gets it over TLS (RFC 5424 and RFC 5425)."`
}

// AuditFile is the audit log as a file.
type AuditFile struct {
	Enabled bool   `yaml:"enabled" jsonschema_description:"Whether there is the file."`
	Size    string `yaml:"size" jsonschema_description:"How large it gets until the next one begins, such as 100MiB: 1MiB to 10GiB."`
	Keep    int    `yaml:"keep" jsonschema:"minimum=1,maximum=1000" jsonschema_description:"How many full files are kept: audit.log.1 is the last one."`
}

// AuditSyslog is a syslog server.
type AuditSyslog struct {
	Address  string `yaml:"address" jsonschema_description:"Its host:port; 6514 is usual. Empty: none."`
	CABundle string `yaml:"caBundle" jsonschema_description:"The CAs that its certificate is checked with instead of those of the system, in PEM, or file:PATH."`
	Spool    string `yaml:"spool" jsonschema_description:"How much is kept on the data partition while it does not answer, such as 256MiB: 1MiB to 10GiB. What comes after that is lost, and counted."`
}

// Alerts is who is told when something fails.
type Alerts struct {
	Webhook Secret `yaml:"webhook" jsonschema_description:"URL that each alert is posted to as JSON; it is kept secret. file:PATH and cred:NAME work too."`
}

// Outbound is the HTTP proxy for what the machine itself asks for.
type Outbound struct {
	URL      string   `yaml:"url" jsonschema_description:"The proxy, such as http://proxy.example.com:3128. Empty: none."`
	Username string   `yaml:"username" jsonschema_description:"The user to log in to the proxy as (HTTP Basic)."`
	Password Secret   `yaml:"password" jsonschema_description:"The password to log in to the proxy with, or file:PATH or cred:NAME."`
	CABundle string   `yaml:"caBundle" jsonschema_description:"CAs beside the others, in PEM, or file:PATH: that of a proxy that is https, and that of a proxy that opens TLS."`
	NoProxy  []string `yaml:"noProxy" jsonschema_description:"What is reached without the proxy: names, which include all names below them; *.example.com for those below alone; addresses and networks such as 10.0.0.0/8, which mean URLs with an address in them. This machine itself and link-local addresses are always reached without it."`
}

// Firewall is what local processes may reach.
type Firewall struct {
	Metadata string `yaml:"metadata" jsonschema:"enum=root-only,enum=open" jsonschema_description:"Who may reach the metadata service of the cloud, which gives the user-data and the credentials of the machine's role to whoever asks. The registry cannot in any case."`
}

// Variable is one REGISTRY_* setting in the stock registry's own words.
type Variable struct {
	Name  string `yaml:"name" jsonschema:"required,pattern=^REGISTRY_" jsonschema_description:"Such as REGISTRY_LOG_ACCESSLOG_DISABLED."`
	Value string `yaml:"value" jsonschema:"required" jsonschema_description:"The value. It needs no quotes."`
}
