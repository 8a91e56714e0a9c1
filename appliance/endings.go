package appliance

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
	"github.com/redoubt-registry/redoubt/appliance/paths"
	"github.com/redoubt-registry/redoubt/units"
)

const (
	// caWarning is how long before its end people are told of a client CA that was brought;
	// of one that is short-lived in its last third.
	caWarning = 14 * 24 * time.Hour
	// namedMost is how many clients one message names.
	namedMost = 10
)

// endingClients says which clients will be out soon, since their certificate or their CA
// ends. It reads only, and is empty where no client is asked for a certificate. What cannot
// be read is the renewal's to report.
func (m *Machine) endingClients(now target) []string {
	if now.maintenance || now.cfg.TLS.ClientAuth.Mode == "none" {
		return nil
	}
	var out []string
	list, err := clientca.Read(filepath.Join(m.Root, paths.ClientCA))
	if err == nil {
		out = append(out, endings(clientca.Ending(list, m.Now()))...)
	}
	data, err := os.ReadFile(filepath.Join(m.Root, paths.ClientCAs))
	if err != nil {
		return out // there is none
	}
	cas, err := cert.ParseCAs(data)
	if err != nil {
		return out
	}
	for _, ca := range cas {
		if ca.NotAfter.Sub(m.Now()) < min(caWarning, ca.NotAfter.Sub(ca.NotBefore)/3) {
			out = append(out, fmt.Sprintf("the client CA %q of tls.clientAuth.cas ends on %s, and all certificates of it then: put the next one beside it",
				ca.Subject.String(), day(ca.NotAfter)))
		}
	}
	return out
}

// endings is one message for all clients.
func endings(ending []clientca.Client) []string {
	if len(ending) == 0 {
		return nil
	}
	var names []string
	for _, c := range ending[:min(len(ending), namedMost)] {
		names = append(names, fmt.Sprintf("%s on %s", c.Name, day(c.NotAfter)))
	}
	if more := len(ending) - namedMost; more > 0 {
		names = append(names, fmt.Sprintf("%d more (redoubt ca list)", more))
	}
	return []string{"client certificates end: " + strings.Join(names, ", ") +
		"; issue the next one with redoubt ca client or redoubt ca sign, or revoke it"}
}

// tellOfClients tells people whose client certificate or CA ends soon, once a day.
func (m *Machine) tellOfClients(ctx context.Context, now target) error {
	for _, cause := range m.endingClients(now) {
		if err := m.tell(ctx, now, units.Renew, cause, m.Out); err != nil {
			return err
		}
	}
	return nil
}
