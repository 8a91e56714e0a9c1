package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.yaml.in/yaml/v2"

	"github.com/redoubt-registry/redoubt/appliance/access/audit"
	"github.com/redoubt-registry/redoubt/appliance/access/syslog"
	"github.com/redoubt-registry/redoubt/appliance/access/webhook"
	"github.com/redoubt-registry/redoubt/appliance/files"
	"github.com/redoubt-registry/redoubt/appliance/registry/metrics"
	"github.com/redoubt-registry/redoubt/appliance/spool"
)

const (
	// auditOption is the option of our access controller that says where the audit log
	// goes beside the journal. Distribution's own words have none for it.
	auditOption = "audit"
	// deliveriesPause is between two looks at what others have left, and at what fails.
	deliveriesPause = 2 * time.Second
	// deliveriesPatience is how long a delivery may fail until people are told.
	deliveriesPatience = time.Minute
)

// auditOptions are where the audit log goes beside the journal.
type auditOptions struct {
	File *struct {
		Path string
		Size int64
		Keep int
	}
	Syslog *struct {
		Address, Spool, CAs string
		Limit               int64
	}
}

// readAudit reads where the audit log goes, and the CAs of the syslog server.
func (g *generation) readAudit() error {
	given := g.config.Auth.Parameters()[auditOption]
	data, err := yaml.Marshal(given)
	if err == nil {
		err = yaml.UnmarshalStrict(data, &g.auditTo)
	}
	if err != nil {
		return fmt.Errorf("cannot use auth.%s: %w", auditOption, err)
	}
	if to := g.auditTo.Syslog; to != nil && to.CAs != "" {
		if g.syslogCAs, err = os.ReadFile(to.CAs); err != nil {
			return fmt.Errorf("cannot use auth.%s.syslog.cas: %w", auditOption, err)
		}
	}
	return nil
}

// delivery is one that runs until it is stopped.
type delivery struct {
	key     string // what it was made from
	spool   *spool.Spool
	courier *spool.Courier
	lost    func() uint64
	lane    *webhook.Lane // nil: it is none to an endpoint
	cancel  context.CancelFunc
	done    chan struct{}
}

func (d *delivery) start() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.done = cancel, make(chan struct{})
	go func() {
		defer close(d.done)
		d.courier.Run(ctx)
	}()
}

func (d *delivery) stop() {
	d.cancel()
	<-d.done
	d.spool.Close()
}

// deliveries are what the registry hands on to others. They outlive a reload that does not
// change them.
type deliveries struct {
	server *server

	mu     sync.Mutex
	file   *audit.File
	fileOf string
	to     map[string]*delivery // by what it is called, such as audit.syslog
	sinks  map[string]audit.Sink
	broken map[string]error // what could not be opened
	cancel context.CancelFunc
	ended  chan struct{}
}

func newDeliveries(s *server) *deliveries {
	ctx, cancel := context.WithCancel(context.Background())
	d := &deliveries{server: s, to: map[string]*delivery{}, sinks: map[string]audit.Sink{}, broken: map[string]error{}, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		d.watch(ctx)
	}()
	return d
}

// use makes the deliveries those of g. What cannot be opened is told and stops nothing: the
// registry serves on.
func (d *deliveries) use(g *generation) {
	if g.maintenance != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.broken)
	var sinks []audit.Sink
	if s := d.auditFile(g.auditTo); s != nil {
		sinks = append(sinks, s)
	}
	if s := d.auditSyslog(g); s != nil {
		sinks = append(sinks, s)
	}
	d.server.audit.Use(sinks...)
	d.server.desk.Change(func() []*webhook.Lane { return d.lanes(g) })
}

func (d *deliveries) auditFile(to auditOptions) audit.Sink {
	if to.File == nil {
		d.file, d.fileOf = nil, ""
		return nil
	}
	if key := fmt.Sprint(*to.File); d.fileOf != key {
		d.file, d.fileOf = audit.NewFile(to.File.Path, to.File.Size, to.File.Keep), key
	}
	return d.file
}

const syslogName = "audit.syslog"

func (d *deliveries) auditSyslog(g *generation) audit.Sink {
	to := g.auditTo.Syslog
	if to == nil {
		d.drop(syslogName)
		return nil
	}
	key := fmt.Sprint(*to, string(g.syslogCAs))
	if old := d.to[syslogName]; old != nil && old.key == key {
		return d.sinks[syslogName]
	}
	d.drop(syslogName)
	kept, err := spool.Open(to.Spool, to.Limit)
	if err != nil {
		d.broken[syslogName] = err
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(g.syslogCAs) > 0 {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(g.syslogCAs)
	}
	host, _ := os.Hostname()
	client := &syslog.Client{Address: to.Address, TLS: config, Hostname: host, AppName: audit.Identifier}
	sink := &audit.Spooled{Spool: kept, Now: time.Now}
	one := &delivery{key: key, spool: kept, lost: sink.Lost, courier: &spool.Courier{
		Spool: kept, Most: 2000, Send: client.Send, Least: time.Second, Longest: time.Minute,
	}}
	one.start()
	d.to[syslogName], d.sinks[syslogName] = one, sink
	return sink
}

// drop stops a delivery, if there is one. What it has not delivered stays on the disk.
func (d *deliveries) drop(name string) {
	if old := d.to[name]; old != nil {
		d.server.audit.Use() // nothing is written to what is closed
		old.stop()
		delete(d.to, name)
		delete(d.sinks, name)
	}
}

// watch takes up what other processes have left, and says what fails.
func (d *deliveries) watch(ctx context.Context) {
	said := "none"
	for {
		if inbox := d.server.opts.AuditInbox; inbox != "" {
			if err := d.server.audit.Collect(inbox); err != nil {
				d.server.log.WithError(err).Debug("events of other processes wait")
			}
		}
		problems := d.problems()
		if now := fmt.Sprint(problems); now != said && d.server.opts.Deliveries != "" {
			if err := spool.WriteState(d.server.opts.Deliveries, problems); err == nil {
				said = now
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(deliveriesPause):
		}
	}
}

// problems are what people must know, without what changes from one time to the next.
func (d *deliveries) problems() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	problems := []string{}
	for _, name := range slices.Sorted(maps.Keys(d.broken)) {
		problems = append(problems, fmt.Sprintf("%s: %v", name, files.Cause(d.broken[name])))
	}
	if d.file != nil && d.file.Err() != nil {
		problems = append(problems, fmt.Sprintf("audit.file: %v", d.file.Err()))
	}
	for _, name := range slices.Sorted(maps.Keys(d.to)) {
		since, err := d.to[name].courier.Err()
		if err != nil && time.Since(since) >= d.server.opts.deliveriesPatience() {
			problems = append(problems, fmt.Sprintf("%s: %v; what is for it waits on the disk", name, err))
		}
		if d.to[name].lane != nil {
			problems = append(problems, d.to[name].lane.Problems(name)...)
		} else if d.to[name].lost() > 0 {
			problems = append(problems, name+": the spool was full, and events were lost")
		}
	}
	return problems
}

// samples are what the deliveries tell Prometheus.
func (d *deliveries) samples() []metrics.Vector {
	of := func(f func(*delivery) float64) func() map[string]float64 {
		return func() map[string]float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			values := map[string]float64{}
			for name, one := range d.to {
				values[name] = f(one)
			}
			return values
		}
	}
	return []metrics.Vector{
		{Name: "redoubt_delivery_failing", Label: "to", Help: "1 while what is for it cannot be delivered.", Values: of(func(d *delivery) float64 { _, err := d.courier.Err(); return number(err != nil) })},
		{Name: "redoubt_delivery_sent", Label: "to", Help: "What was delivered since the registry began.", Values: of(func(d *delivery) float64 { sent, _ := d.courier.Stats(); return float64(sent) })},
		{Name: "redoubt_delivery_failed", Label: "to", Help: "How often that failed; what failed is sent again.", Values: of(func(d *delivery) float64 { _, failed := d.courier.Stats(); return float64(failed) })},
		{Name: "redoubt_delivery_waiting_bytes", Label: "to", Help: "What waits in the spool.", Values: of(func(d *delivery) float64 { return float64(d.spool.Waiting()) })},
		{Name: "redoubt_delivery_lost", Label: "to", Help: "What was lost since the registry began, because the spool was full or an endpoint refuses it.", Values: of(func(d *delivery) float64 { return float64(d.lost()) })},
	}
}

func (d *deliveries) close() {
	d.cancel()
	<-d.ended
	d.server.audit.Close()
	d.server.desk.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.to {
		one.stop()
	}
	if d.file != nil {
		d.file.Close()
	}
}
