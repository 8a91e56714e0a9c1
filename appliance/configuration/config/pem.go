package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/hostname"
)

// A configuration is checked without a clock: whether a certificate is in force
// is looked at when it is used.
var noClock time.Time

// validatePEM checks the form of a value that is PEM, or says where that is. It
// returns the PEM, and false if that is elsewhere or cannot be used.
func validatePEM(value Secret, at spot) ([]byte, bool) {
	literal, ok := value.literal()
	switch {
	case !ok:
		value.validate(at)
		return nil, false
	case !strings.Contains(literal, "-----BEGIN "):
		at.fail("must be PEM, or file:PATH with the path of a file in PEM")
		return nil, false
	}
	return []byte(literal), true
}

// validatePair checks a certificate and its key that belong together with check,
// where both are in the document.
func validatePair(certificate string, key Secret, s spot, check func(certPEM, key []byte) error) {
	switch {
	case certificate == "":
		s.at("certificate").fail("required: PEM, or file:PATH, as the private key needs its certificate")
	case key == "":
		s.at("privateKey").fail("required: PEM, or file:PATH, as the certificate needs its private key")
	default:
		certPEM, haveCert := validatePEM(Secret(certificate), s.at("certificate"))
		keyPEM, haveKey := validatePEM(key, s.at("privateKey"))
		if !haveCert || !haveKey {
			return
		}
		if err := check(certPEM, keyPEM); err != nil {
			at := s.at("certificate")
			if strings.Contains(err.Error(), "private key") {
				at = s.at("privateKey")
			}
			at.fail("%s", err)
		}
	}
}

func (t TLS) validatePairs(s spot, names []string) {
	for _, name := range names {
		if hostname.Problem(name) != "" {
			names = nil // reported already
			break
		}
	}
	switch files := t.Files; {
	case t.Mode == "files":
		validatePair(files.Certificate, files.PrivateKey, s.at("files"), func(certPEM, key []byte) error {
			pair, err := cert.CheckPair(certPEM, key, names, noClock)
			if err == nil {
				for _, remark := range pair.Remarks() {
					s.at("files").at("certificate").warn("%s", remark)
				}
			}
			return err
		})
	case files.Certificate != "" || files.PrivateKey != "":
		s.at("files").warn("not used: tls.mode is not files")
	}
	if ca := t.InternalCA; ca.Certificate != "" || ca.PrivateKey != "" {
		validatePair(ca.Certificate, ca.PrivateKey, s.at("internalCA"), func(certPEM, key []byte) error {
			if len(names) == 0 {
				return nil
			}
			_, err := cert.CheckCA(certPEM, key, names, noClock)
			return err
		})
	}
}

func (c ClientAuth) validate(s spot, mode string) {
	s.at("mode").oneOf(c.Mode, "none", "optional", "required")
	if c.Mode != "none" && mode == "off" {
		s.at("mode").fail("needs TLS: tls.mode is off")
	}
	if c.Mode == "none" && len(c.CAs)+len(c.CRLs) > 0 {
		s.warn("cas and crls are not used: tls.clientAuth.mode is none")
	}
	var cas []byte
	all := true // of the CAs are in the document
	for i, ca := range c.CAs {
		pem, ok := validatePEM(Secret(ca), s.at("cas").item(i))
		all = all && ok
		if !ok {
			continue
		}
		plain, err := cert.CheckCAs(pem, noClock)
		if err != nil {
			s.at("cas").item(i).fail("%s", err)
		}
		cas = append(cas, plain...)
	}
	for i, list := range c.CRLs {
		at := s.at("crls").item(i)
		pem, ok := validatePEM(Secret(list), at)
		if !ok {
			continue
		}
		_, err := cert.ParseCRLs(pem)
		if err == nil && all {
			_, err = cert.CheckCRLs(pem, cas)
		}
		if err != nil {
			at.fail("%s", err)
		}
	}
}

func (a Alerts) validate(s spot) {
	at := s.at("webhook")
	a.Webhook.validate(at)
	literal, ok := a.Webhook.literal()
	if !ok || literal == "" {
		return
	}
	u, err := url.Parse(literal)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		at.fail("must be a URL, such as https://alerts.example.com/hook")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		at.fail("must be https: the alert, and the secret in the URL, would go over the network in the clear")
	}
}
