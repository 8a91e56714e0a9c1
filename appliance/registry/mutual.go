package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/redoubt-registry/redoubt/appliance/access/clients"
	"github.com/redoubt-registry/redoubt/appliance/access/users"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
)

// The options of auth for client certificates, which upstream's configuration does not
// have.
const (
	crlsOption  = "crls"               // files of revocation lists
	usersOption = "clientcertificates" // which user a certificate logs in
)

// openClients sets how client certificates are asked for and checked. A machine in
// maintenance asks for none: it serves nothing, and must tell every client why.
func (g *generation) openClients(s *server) error {
	section := g.config.HTTP.TLS
	if len(section.ClientCAs) == 0 || g.maintenance != nil {
		return nil
	}
	required := true
	switch section.ClientAuth {
	case "", configuration.ClientAuthRequireAndVerifyClientCert:
	case configuration.ClientAuthVerifyClientCertIfGiven:
		required = false
	default:
		return fmt.Errorf("cannot use http.tls.clientauth: it must be %s or %s, which verify what they take",
			configuration.ClientAuthVerifyClientCertIfGiven, configuration.ClientAuthRequireAndVerifyClientCert)
	}
	files := clients.Files{CAs: section.ClientCAs, Refused: filepath.Join(filepath.Dir(section.ClientCAs[0]), clientca.RefusedFile)}
	var err error
	if kind := g.config.Auth.Type(); kind == users.Name || kind == "htpasswd" {
		options := g.config.Auth.Parameters()
		if files.CRLs, err = paths(options[crlsOption]); err != nil {
			return err
		}
		if g.users, err = clients.ParseUsers(options[usersOption]); err != nil {
			return fmt.Errorf("cannot use auth: %w", err)
		}
	}
	g.clients, err = clients.Open(files, required, s.self.Leaf.Raw, time.Now, func(err error) {
		s.log.WithError(err).Error("the change is refused; the client CAs and revocation lists before it stay")
	})
	if err != nil {
		return fmt.Errorf("cannot use http.tls.clientcas: %w", err)
	}
	g.clients.Configure(g.tls)
	return nil
}

func paths(option any) ([]string, error) {
	if option == nil {
		return nil, nil
	}
	items, ok := option.([]any)
	var out []string
	for _, item := range items {
		path, isText := item.(string)
		ok = ok && isText && path != ""
		out = append(out, path)
	}
	if !ok {
		return nil, errors.New("cannot use auth: crls must be a list of files")
	}
	return out, nil
}
