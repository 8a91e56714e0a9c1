package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redoubt-registry/redoubt/appliance/certificates/cert"
	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/configuration/disk"
	"github.com/redoubt-registry/redoubt/appliance/configuration/history"
	"github.com/redoubt-registry/redoubt/appliance/configuration/render"
	"github.com/redoubt-registry/redoubt/appliance/configuration/secrets"
	"github.com/redoubt-registry/redoubt/appliance/configuration/tree"
	"github.com/redoubt-registry/redoubt/appliance/configuration/userdata"
	"github.com/redoubt-registry/redoubt/appliance/paths"
)

// target is what the machine is to be.
type target struct {
	cfg          config.Config
	files        tree.Tree
	maintenance  bool          // it only says what is wrong
	certificates cert.Decision // what the server shows, and what is to be done for it
	called       string        // in messages

	// What is kept of a configuration; empty in maintenance.
	document []byte // cfg
	sources  []string
	secrets  tree.Tree
	back     int // the generation that it goes back to
}

// names are the names of the server's certificate.
func (t target) names() []string {
	if t.cfg.Hostname == "" || t.cfg.TLS.Mode == "off" {
		return nil
	}
	all := append([]string{t.cfg.Hostname}, t.cfg.Aliases...)
	return slices.DeleteFunc(all, func(name string) bool { // CAs refuse what a wildcard includes
		_, zone, _ := strings.Cut(name, ".")
		return !strings.HasPrefix(name, "*.") && slices.ContainsFunc(t.cfg.Aliases, func(a string) bool { return strings.EqualFold(a, "*."+zone) })
	})
}

// choice is what the machine is to be, and how that was found.
type choice struct {
	target
	problem  error // why it is not what the sources ask for
	asked    bool  // it is what they ask for
	origins  config.Origins
	lastGood []byte
	hold     *history.Hold // it is what a rollback chose, whatever they ask for
}

// choose decides what the machine is to be. It reads, and changes nothing. held says
// that what a rollback chose counts, until the documents say something new.
func (m *Machine) choose(ctx context.Context, held bool) (choice, error) {
	if problem := m.unmounted(ctx); problem != nil {
		t, err := m.maintain(config.Config{}, config.Report{{Message: problem.Error()}})
		return choice{target: t, problem: problem}, err
	}
	found := m.Source.Read()
	lastGood, err := history.LastGood(m.Root, m.Vault)
	if err != nil {
		m.warn("%v", err) // as if there were none
	}
	if held {
		c, err := m.held(found, lastGood)
		if err != nil || c.hold != nil {
			return c, err
		}
	}
	c := choice{lastGood: lastGood, problem: m.noNews(found)}
	if c.problem != nil {
		restored := func(l config.Layer) bool { return l.Name == paths.Restored } // it is older
		found.Layers = append([]config.Layer{{Name: paths.LastGood, Data: lastGood}}, slices.DeleteFunc(found.Layers, restored)...)
	}
	return m.take(c, found)
}

// instead is what the machine is to be when cfg cannot be used, for the reasons in
// report.
func (m *Machine) instead(c choice, cfg config.Config, report config.Report) (choice, error) {
	c.asked = false
	var err error
	unchanged := func() error {
		return fmt.Errorf("nothing was changed, since the configuration cannot be used:\n%w", report.Err())
	}
	if c.lastGood != nil {
		c.target, err = m.rebuild(c.lastGood)
		if err == nil && m.replacesBucket(c.target) {
			return c, unchanged()
		}
		if err == nil {
			c.problem = fmt.Errorf("the last good configuration serves, since the present one cannot be used:\n%w", report.Err())
			return c, nil
		}
		m.warn("cannot use %s: %v", paths.LastGood, err)
		if m.rendered() {
			return c, unchanged()
		}
	}
	c.target, err = m.maintain(cfg, report)
	c.problem = fmt.Errorf("no images are served, since the configuration cannot be used:\n%w", report.Err())
	return c, err
}

// check tries what the machine is to use for the first time, and chooses otherwise
// where that does not work.
func (m *Machine) check(ctx context.Context, c choice) (choice, error) {
	if !c.asked {
		return c, nil
	}
	err := m.tryBucket(ctx, c.target, c.origins, c.lastGood)
	if err == nil {
		return c, nil
	}
	return m.instead(c, c.cfg, entries(err, c.origins))
}

// unmounted is an error if the data partition is not mounted. Without its state the
// machine would behave as a new one: another CA, no images. The mount would later hide
// what was written below it.
func (m *Machine) unmounted(ctx context.Context) error {
	states, err := m.Units.States(ctx, dataMount)
	if err != nil {
		return err
	}
	if s := states[0]; s.Load != "loaded" || s.Active == "active" {
		return nil
	}
	return errors.New("cannot reach the data partition: it is not mounted on /var/lib/redoubt; " +
		"see journalctl -u " + dataMount + ", mount it, then run redoubt apply")
}

// dataMount is made of /etc/fstab by systemd-fstab-generator(8).
const dataMount = "var-lib-redoubt.mount"

// rendered tells whether there is a configuration in force.
func (m *Machine) rendered() bool {
	_, err := os.Stat(filepath.Join(m.Root, paths.RegistryYML))
	_, notice := os.Stat(filepath.Join(m.Root, paths.Maintenance))
	return err == nil && notice != nil
}

// noNews is an error if cloud-init found no metadata on a machine whose configuration
// came from there. The earlier configuration still holds.
func (m *Machine) noNews(found userdata.Found) error {
	if !found.NoNews {
		return nil
	}
	g, err := history.Newest(m.Root)
	if err != nil {
		return nil
	}
	for _, s := range g.Sources {
		if strings.HasPrefix(s, "user-data") || strings.HasPrefix(s, "vendor-data") {
			return errors.New("the last good configuration serves, since cloud-init found no metadata; see: cloud-init status --long")
		}
	}
	return nil
}

// build renders cfg, which came from layers, and decides on its certificates. known
// says that the machine has served with the same sources of them.
func (m *Machine) build(cfg config.Config, layers []config.Layer, known bool) (target, error) {
	t := target{cfg: cfg}
	for _, l := range layers {
		t.sources = append(t.sources, l.Name)
	}
	have, err := disk.Read(m.Root, secrets.Paths())
	if err != nil {
		return t, err
	}
	kept, err := secrets.Load(have)
	if err != nil {
		return t, err
	}
	made, err := realize(cfg, m.resolver(), kept)
	if err != nil {
		return t, err
	}
	t.files = made.files
	if t.secrets, err = made.kept.Files(); err != nil {
		return t, err
	}
	if t.document, err = cfg.Document(); err != nil {
		return t, err
	}
	t.certificates, err = m.certificates(t, known)
	return t, err
}

func (m *Machine) resolver() secrets.Resolver {
	return secrets.Resolver{Root: m.Root, Credentials: m.Credentials}
}

// rebuild renders a document that Config.Document wrote.
func (m *Machine) rebuild(document []byte) (target, error) {
	layers := []config.Layer{{Name: paths.LastGood, Data: document}}
	cfg, _, report := config.Parse(layers)
	if err := report.Err(); err != nil {
		return target{}, err
	}
	t, err := m.build(cfg, layers, true)
	t.called = "the last good configuration"
	return t, err
}

// maintain is a machine that only says what is wrong. It has a certificate if
// the mistakes leave no doubt about its names.
func (m *Machine) maintain(cfg config.Config, report config.Report) (target, error) {
	t := target{maintenance: true, cfg: cfg, called: "a notice of what is wrong"}
	for _, e := range report.Errors() {
		for _, key := range []string{"hostname", "aliases", "tls.internalCA"} {
			if strings.HasPrefix(e.Path, key) {
				t.cfg.Hostname = ""
			}
		}
	}
	hostname := t.cfg.Hostname
	if hostname == "" {
		data, _ := os.ReadFile(filepath.Join(m.Root, "etc/hostname")) // only for people
		hostname = strings.TrimSpace(string(data))
	}
	var err error
	t.files, err = render.Maintenance(hostname, report)
	if d, problem := m.certificates(t, true); problem == nil { // else one that no client trusts says what is wrong
		t.certificates = d
	}
	return t, err
}

// entries makes report entries of what build found, each at the line of its key.
func entries(err error, origins config.Origins) config.Report {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var report config.Report
		for _, e := range joined.Unwrap() {
			report = append(report, entries(e, origins)...)
		}
		return report
	}
	e := config.Entry{Message: err.Error()}
	if p, ok := errors.AsType[secrets.Problem](err); ok {
		e = origins.Entry(p.Path, p.Err.Error())
	}
	return config.Report{e}
}

func operators(file string) bool { return strings.HasPrefix(file, paths.Operator+"/") }

// ofImage are the layers that all others are meant to replace.
func ofImage(file string) bool { return strings.HasPrefix(file, "/usr/") || file == paths.Restored }
