package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

func (b S3) validate(s spot) {
	b.validateBucket(s.at("bucket"))
	endpoint := b.validateEndpoint(s.at("endpoint"))
	if endpoint != nil || b.Endpoint == "" && s.known("endpoint") {
		b.validateRegion(s.at("region"), endpoint)
	}
	b.validateKeys(s)
	b.validateRoot(s.at("root"))
	if b.KMSKeyID != "" {
		switch at := s.at("kmsKeyID"); {
		case !b.Encrypt:
			at.fail("needs storage.s3.encrypt: true")
		case !kmsKey.MatchString(b.KMSKeyID):
			at.fail("must be the ID, the ARN or the alias of a KMS key")
		}
	}
	validateCAs(b.CABundle, s.at("caBundle"))
	if endpoint == nil {
		return
	}
	if endpoint.Scheme == "http" && b.CABundle != "" {
		s.at("caBundle").warn("not used: storage.s3.endpoint is http")
	}
	b.validateReach(s, endpoint)
}

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// reserved are the beginnings and ends that AWS keeps for itself.
	reserved = regexp.MustCompile(`^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$`)
	kmsKey   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:/_-]*$`)
)

// validateBucket follows the naming rules of S3's general purpose buckets.
func (b S3) validateBucket(at spot) {
	name := b.Bucket
	_, noAddress := netip.ParseAddr(name)
	switch {
	case name == "":
		at.fail("required: the bucket's name")
	case strings.HasPrefix(name, "s3://"):
		at.fail("must be the bucket's name alone, without s3://; what follows the name is storage.s3.root")
	case strings.Contains(name, "://"):
		at.fail("must be the bucket's name alone, not a URL: that of the service is storage.s3.endpoint")
	case strings.HasPrefix(name, "arn:"):
		at.fail("must be the bucket's name alone, not its ARN")
	case strings.Contains(name, "/"):
		at.fail("must be the bucket's name alone; what follows the / is storage.s3.root")
	case len(name) < 3 || len(name) > 63:
		at.fail("must have 3 to 63 characters")
	case strings.ToLower(name) != name:
		at.fail("a bucket's name has no capital letters")
	case strings.Contains(name, "_"):
		at.fail("a bucket's name has no underscore")
	case !bucketName.MatchString(name):
		at.fail("must be lower-case letters, digits, - and dots, with a letter or a digit at both ends")
	case strings.Contains(name, "..") || noAddress == nil:
		at.fail("must have no two dots in a row, and must not look like an IP address")
	case reserved.MatchString(name):
		at.fail("this beginning or end of a name is reserved: no bucket has such a name")
	}
}

// validateEndpoint returns the endpoint if there is one that can be used.
func (b S3) validateEndpoint(at spot) *url.URL {
	if b.Endpoint == "" {
		return nil
	}
	const form = ", such as https://sos-ch-dk-2.example.com"
	u, err := url.Parse(b.Endpoint)
	switch {
	case strings.HasPrefix(b.Endpoint, "s3://"):
		at.fail("must be the service's URL with https://" + form + "; the bucket's name is storage.s3.bucket")
	case !strings.Contains(b.Endpoint, "://"):
		at.fail("must be a URL with its scheme" + form)
	case err != nil || u.Hostname() == "":
		at.fail("must be a URL with a host" + form)
	case u.Scheme != "https" && u.Scheme != "http":
		at.fail("must begin with https:// or http://")
	case u.User != nil:
		at.fail("must have no login in it: use storage.s3.accessKey and storage.s3.secretKey")
	case b.Bucket != "" && strings.Trim(u.Path, "/") == b.Bucket:
		at.fail("must end at the host: leave the bucket's name out, which is storage.s3.bucket")
	case u.Path != "" && u.Path != "/":
		at.fail("must end at the host, without a path; the prefix of the objects is storage.s3.root")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		at.fail("must end at the host, without ? and #")
	case b.Bucket != "" && strings.HasPrefix(strings.ToLower(u.Hostname()), b.Bucket+"."):
		at.fail("must not begin with the bucket's name: leave it and its dot out, for storage.s3.bucket says it already")
	case !validPort(u):
		at.fail("the port must be from 1 to 65535")
	case unreachable(u.Hostname()):
		at.fail("this address cannot be a service's")
	case hostname.Problem(u.Hostname()) != "":
		at.fail("the host must be a DNS name or an IP address")
	default:
		return u
	}
	return nil
}

func validPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	number, err := strconv.Atoi(u.Port())
	return u.Port() == "" || err == nil && number >= 1 && number <= 65535
}

// unreachable tells of the link-local addresses: the machine's metadata service
// is among them, and no unit that uses a bucket reaches it.
func unreachable(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && (address.Unmap().IsLinkLocalUnicast() || address.IsMulticast() || address.IsUnspecified())
}

var (
	regionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)
	awsRegion  = regexp.MustCompile(`^(af|ap|ca|cn|eu|eusc|il|me|mx|sa|us)(-[a-z]+)+-[0-9]+$`)
	awsZone    = regexp.MustCompile(`^(af|ap|ca|cn|eu|eusc|il|me|mx|sa|us)(-[a-z]+)+-[0-9]+[a-z]$`)
)

func (b S3) validateRegion(at spot, endpoint *url.URL) {
	aws := endpoint == nil || hostname.OfAWS(b.Endpoint)
	switch {
	case b.Region == "" && aws:
		at.fail("required: the bucket's region, such as eu-central-1; a service other than AWS needs storage.s3.endpoint")
	case b.Region == "":
	case strings.Contains(b.Region, "://") || strings.Contains(b.Region, "."):
		at.fail("must be the name of a region, such as eu-central-1, not a URL: that is storage.s3.endpoint")
	case !regionName.MatchString(b.Region):
		at.fail("must be the name of a region, such as eu-central-1: letters, digits and -")
	case aws && awsZone.MatchString(b.Region):
		at.fail("is an availability zone: leave its last letter out")
	case aws && !awsRegion.MatchString(b.Region):
		at.warn("is no region of AWS as far as known; a service other than AWS needs storage.s3.endpoint")
	case endpoint != nil && aws && !strings.Contains("."+endpoint.Hostname()+".", "."+b.Region+"."):
		at.warn("is not in storage.s3.endpoint: with AWS, leave the endpoint out")
	}
}

// known tells whether none of the values at keys was refused before.
func (s spot) known(keys ...string) bool {
	for _, key := range keys {
		if s.wanting[join(s.path, key)] {
			return false
		}
	}
	return true
}

// Keys as AWS makes them: twenty characters for the ID, forty for the secret.
var (
	keyID     = regexp.MustCompile(`^(AKIA|ASIA)[A-Z0-9]*$`)
	secretKey = regexp.MustCompile(`^[A-Za-z0-9/+=]{40}$`)
)

func (b S3) validateKeys(s spot) {
	b.AccessKey.validate(s.at("accessKey"))
	b.SecretKey.validate(s.at("secretKey"))
	if !s.known("accessKey", "secretKey", "iamRole") {
		return
	}
	switch {
	case b.IAMRole && (b.AccessKey != "" || b.SecretKey != ""):
		s.at("iamRole").fail("exactly one of keys and iamRole: leave iamRole out, or accessKey and secretKey")
	case b.IAMRole:
	case b.AccessKey == "" && b.SecretKey == "":
		s.fail("needs accessKey and secretKey, or iamRole: true on a machine that has a role")
	case b.AccessKey == "":
		s.at("accessKey").fail("required with secretKey: the ID of the key")
	case b.SecretKey == "":
		s.at("secretKey").fail("required with accessKey: the secret of the key")
	default:
		b.compareKeys(s)
	}
}

// compareKeys warns of keys that are probably not what they should be. Other
// services make keys of other forms, so that only what AWS made can be told.
func (b S3) compareKeys(s spot) {
	id, _ := b.AccessKey.literal()
	secret, _ := b.SecretKey.literal()
	switch {
	case keyID.MatchString(secret) && !keyID.MatchString(id):
		s.at("secretKey").warn("looks like the ID of a key: are accessKey and secretKey exchanged?")
	case secretKey.MatchString(id) && len(secret) < 40:
		s.at("accessKey").warn("looks like the secret of a key: are accessKey and secretKey exchanged?")
	case id != "" && id == secret:
		s.at("secretKey").warn("is the same as accessKey: the secret of a key is not its ID")
	case keyID.MatchString(id) && len(id) != 20:
		s.at("accessKey").warn("is not as long as the ID of a key of AWS, which has 20 characters")
	case strings.HasPrefix(id, "ASIA") && keyID.MatchString(id):
		s.at("accessKey").warn("is of a temporary key, which ends within hours: use a lasting one, or iamRole")
	case keyID.MatchString(id) && secret != "" && len(secret) != 40:
		s.at("secretKey").warn("is not as long as the secret of a key of AWS, which has 40 characters")
	}
}

var rootName = regexp.MustCompile(`^[A-Za-z0-9._+@=-]+(/[A-Za-z0-9._+@=-]+)*$`)

// validateRoot refuses what would not be the same key for every service, and
// what would lie among the objects of the appliance itself.
func (b S3) validateRoot(at spot) {
	switch {
	case b.Root == "":
	case strings.HasPrefix(b.Root, "/"):
		at.fail("must not begin with a /: it is a prefix of objects, such as registry")
	case strings.HasSuffix(b.Root, "/"):
		at.fail("must not end in a /")
	case strings.Contains(b.Root, "//"):
		at.fail("must have no //")
	case strings.Contains("/"+b.Root+"/", "/../") || strings.Contains("/"+b.Root+"/", "/./"):
		at.fail("must be a plain path, without . and ..")
	case len(b.Root) > 200:
		at.fail("too long: at most 200 characters")
	case !rootName.MatchString(b.Root):
		at.fail("only letters, digits and . _ - + @ = between the slashes")
	case b.Root == "redoubt" || strings.HasPrefix(b.Root, "redoubt/"):
		at.fail("the appliance itself keeps its state below redoubt: choose another prefix, such as registry")
	}
}

// validateReach warns of an endpoint that clients cannot reach, and of one to
// which images would go in the clear.
func (b S3) validateReach(s spot, endpoint *url.URL) {
	host := endpoint.Hostname()
	if endpoint.Scheme == "http" && !isPrivate(host) {
		s.at("endpoint").warn("images go over the network in the clear: use https")
	}
	at := s.at("redirect")
	switch {
	case !b.Redirect:
	case isLoopback(host):
		at.warn("clients are sent to storage.s3.endpoint for images, which is this machine's loopback: leave redirect out")
	case endpoint.Scheme == "http":
		at.warn("clients are sent to storage.s3.endpoint for images, which is not https, and several refuse that: leave redirect out")
	case isPrivate(host):
		at.warn("clients are sent to storage.s3.endpoint for images, which is private, and several refuse that: leave redirect out")
	}
}

var privateName = regexp.MustCompile(`^[^.]+$|\.(internal|local|lan|home\.arpa|localhost|intranet|corp|private)$`)

// isPrivate tells whether a host is not in the internet, as far as can be told.
func isPrivate(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		address = address.Unmap()
		return address.IsPrivate() || address.IsLoopback() || sharedSpace.Contains(address)
	}
	return privateName.MatchString(strings.ToLower(host))
}

// sharedSpace is for carriers and clouds inside (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func (c Config) validateFirewall(at spot) {
	at.oneOf(c.Firewall.Metadata, "root-only", "open")
	if b := c.Storage.S3; b != nil && b.IAMRole && c.Firewall.Metadata == "open" {
		at.warn("any process on the machine can take the credentials of its role: leave it root-only")
	}
}
