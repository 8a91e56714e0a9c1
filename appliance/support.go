package appliance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/configuration/config"
	"github.com/redoubt-registry/redoubt/appliance/files"
)

const (
	supportTimeout = time.Minute // for one part
	journalLines   = "20000"     // of each journal: about 4 MB
	shortestSecret = 6           // a shorter one is in every text
)

// Support writes what somebody needs who is to help to the file out, or to stdout if that is
// -, or to one in /tmp if it is empty. It is a gzipped tar: what the machine says of itself,
// its configuration and history without secrets, what an apply would do, the metrics, and
// the journal of its units. What the configuration has as a secret is taken out of every
// part. version is that of the running program.
func (m *Machine) Support(ctx context.Context, version, out string, stdout io.Writer) error {
	name := "redoubt-support-" + m.Now().UTC().Format("20060102T150405Z")
	data, err := m.pack(name, m.parts(ctx, version))
	if err != nil {
		return fmt.Errorf("cannot make the file for support: %w", err)
	}
	if out == "-" {
		_, err := stdout.Write(data)
		return err
	}
	if out == "" {
		out = path.Join("/tmp", name+".tar.gz")
	}
	if err := files.Write(out, data, 0o600, -1); err != nil {
		return err
	}
	fmt.Fprintf(m.Out, "wrote %s; read it before you give it away\n", out)
	return nil
}

// part is one file for whoever is to help.
type part struct {
	name string
	text []byte
}

// parts are what the machine and its programs say. One that cannot be had says why, in its
// place.
func (m *Machine) parts(ctx context.Context, version string) []part {
	now := m.present().target
	all := []struct {
		name string
		make func(context.Context) ([]byte, error)
	}{
		{"status.json", func(ctx context.Context) ([]byte, error) { return asJSON(m.Status(ctx, version)) }},
		{"doctor.json", func(ctx context.Context) ([]byte, error) { return asJSON(m.Doctor(ctx, version)) }},
		{"configuration.yaml", func(context.Context) ([]byte, error) { return now.cfg.Show(nil) }},
		{"history.json", func(context.Context) ([]byte, error) { return asJSON(m.History()) }},
		{"plan.txt", m.printed(func(ctx context.Context, m *Machine) error { return m.Apply(ctx, Options{DryRun: true, Boot: true}) })},
		{"metrics.txt", m.printed(func(ctx context.Context, m *Machine) error { return m.Metrics(ctx) })},
		{"units.txt", output("systemctl", "list-units", "--all", "--no-pager", "--full")},
		{"timers.txt", output("systemctl", "list-timers", "--all", "--no-pager", "--full")},
		{"journal.txt", output("journalctl", "--no-pager", "--output=short-iso-precise", "--unit=redoubt-*", "--lines="+journalLines)},
		{"warnings.txt", output("journalctl", "--no-pager", "--output=short-iso-precise", "--priority=warning", "--lines="+journalLines)},
		{"disks.txt", output("df", "--human-readable", "--print-type")},
		{"addresses.txt", output("ip", "address")},
		{"cloud-init.txt", output("cloud-init", "status", "--long")},
	}
	secrets := m.everySecret(now.cfg)
	var out []part
	for _, p := range all {
		within, cancel := context.WithTimeout(ctx, supportTimeout)
		text, err := p.make(within)
		cancel()
		if err != nil {
			text = append(text, "\n"+err.Error()+"\n"...)
		}
		out = append(out, part{p.name, redact(text, secrets)})
	}
	return out
}

// pack makes a gzipped tar of parts, in a directory dir.
func (m *Machine) pack(dir string, parts []part) ([]byte, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for _, p := range parts {
		header := &tar.Header{Name: path.Join(dir, p.name), Mode: 0o600, Size: int64(len(p.text)), ModTime: m.Now()}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(p.text); err != nil {
			return nil, err
		}
	}
	err := errors.Join(archive.Close(), zipped.Close())
	return b.Bytes(), err
}

// everySecret is each secret of the configuration in force and of the documents that are
// given now, which may not be in force.
func (m *Machine) everySecret(cfg config.Config) []string {
	given, _, _ := m.Source.Read().Parse()
	return append(cfg.Secrets(), given.Secrets()...)
}

// redact takes secrets out of a text. The configuration says itself what is redacted; this
// is for a program that prints what it should not.
func redact(text []byte, secrets []string) []byte {
	for _, s := range secrets {
		if len(s) >= shortestSecret {
			text = bytes.ReplaceAll(text, []byte(s), []byte("<redacted>"))
		}
	}
	return text
}

func asJSON[T any](v T, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

// printed is what a verb prints, its warnings with it.
func (m *Machine) printed(verb func(context.Context, *Machine) error) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		var b bytes.Buffer
		quiet := *m
		quiet.Out, quiet.Warnings = &b, &b
		err := verb(ctx, &quiet)
		return b.Bytes(), err
	}
}

// output is what a program prints.
func output(args ...string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
		return out, err
	}
}
