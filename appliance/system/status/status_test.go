package status_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/renewal"
	"github.com/redoubt-registry/redoubt/appliance/storage/health"
	"github.com/redoubt-registry/redoubt/appliance/storage/quota"
	"github.com/redoubt-registry/redoubt/appliance/system/status"
)

// well is a machine on which all is well.
func well() *status.Report {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return &status.Report{
		Address: "https://registry.example.com",
		Units: []status.Unit{
			{Name: "redoubt-registry.service", Active: "active", Sub: "running", Since: at, Restarts: 2, Wanted: true},
			{Name: "redoubt-redis.service", Active: "inactive", Sub: "dead"},
		},
		Registry:    status.Answer{Healthy: true, Latency: 1234 * time.Microsecond},
		Certificate: &status.Certificate{Issuer: "CA", Names: []string{"registry.example.com"}, NotAfter: at, DaysLeft: 80, Generation: "3", Authority: "/ca.crt", Fingerprint: "AB"},
		Storage: &status.Storage{Type: "filesystem", Root: "/images", Directory: &status.Directory{Used: 3 << 29, Free: 10 << 30, Writable: true},
			Health:     &status.Health{Grade: health.OK, Since: at, Checked: at, Slowest: "put", Seconds: 0.0123},
			Collection: &status.Collection{Began: at, Freed: 5 << 20, Trash: 3 << 30, Early: 1 << 30, EarlyAt: at},
			Quotas:     []quota.Usage{{Repositories: []string{"team/**"}, Size: 10 << 30, Used: 5 << 30, Counted: true}}},
		Cache: &status.Cache{Type: "redis", Reachable: true, Keys: 12, Memory: 1 << 20},
		Configuration: status.Configuration{
			Sources: []string{"user-data", "/etc/redoubt/config.yaml"}, Generation: 4, Applied: at},
		Versions: status.Versions{Redoubt: "1.2.3", Distribution: "v3.1.2", Redis: "8.0.2", Image: "Debian"},
	}
}

func TestString(t *testing.T) {
	r := well()
	r.Judge()
	want := `ok: https://registry.example.com serves, and answered in 1.2ms

units
  redoubt-registry.service  active (running)  since 2026-03-04 05:06:07 UTC  2 restarts
  redoubt-redis.service     inactive (dead)

certificate
  names       registry.example.com
  issuer      CA
  ends        2026-03-04 05:06:07 UTC, 80 days left
  generation  3
  CA file     /ca.crt
  CA SHA-256  AB

storage
  type        filesystem
  root        /images
  used        1.5 GiB, 10 GiB free
  writable    yes
  health      ok since 2026-03-04 05:06:07 UTC
  last check  2026-03-04 05:06:07 UTC
  slowest     put, 12.3ms
  last gc     2026-03-04 05:06:07 UTC, freed 5 MiB
  trash       3 GiB
  purged      1 GiB early, since the disk was full: 2026-03-04 05:06:07 UTC
  quota       team/**: 5 GiB of 10 GiB used

cache
  type    redis
  keys    12
  memory  1 MiB

configuration
  sources     user-data, /etc/redoubt/config.yaml
  generation  4
  applied     2026-03-04 05:06:07 UTC

versions
  redoubt       1.2.3
  distribution  v3.1.2
  redis         8.0.2
  image         Debian
`
	if got := r.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(*status.Report)
		verdict status.Verdict
		problem string
	}{
		{"nothing", func(*status.Report) {}, status.OK, ""},
		{"silent", func(r *status.Report) { r.Registry = status.Answer{Error: "the registry does not answer"} }, status.Down, "the registry does not answer"},
		{"unit", func(r *status.Report) { r.Units[0].Active = "failed" }, status.Degraded,
			"redoubt-registry.service is failed; the reason is in: journalctl -u redoubt-registry.service"},
		{"certificate ends", func(r *status.Report) { r.Certificate.DaysLeft = 3 }, status.Degraded, "the certificate ends in 3 days"},
		{"certificate unreadable", func(r *status.Report) { r.Certificate.Error = "cannot read it" }, status.Degraded, "cannot read it"},
		{"read-only", func(r *status.Report) { r.Storage.Writable = false }, status.Degraded, "the registry cannot write to /images"},
		{"almost full", func(r *status.Report) { r.Storage.Free = 50 << 20 }, status.Degraded, "/images is almost full: 50 MiB left"},
		{"gc fails", func(r *status.Report) { r.Storage.Collection.Failures, r.Storage.Collection.Error = 2, "no room" }, status.Degraded, "redoubt gc has failed 2 times: no room"},
		{"storage gone", func(r *status.Report) { r.Storage.Error = "cannot read the storage" }, status.Degraded, "cannot read the storage"},
		{"storage degraded", func(r *status.Report) {
			*r.Storage.Health = status.Health{Grade: health.Degraded, Error: "the disk is full"}
		}, status.Degraded, "the storage is degraded: the disk is full"},
		{"storage down, with a key to fix", func(r *status.Report) {
			*r.Storage = status.Storage{Type: "s3", Bucket: "b", Health: &status.Health{Grade: health.Down, Error: "no such bucket", Key: "storage.s3.bucket"}}
		}, status.Degraded, "the storage is down: storage.s3.bucket: no such bucket"},
		{"another machine", func(r *status.Report) {
			*r.Storage = status.Storage{Type: "s3", Bucket: "b", Others: "b.test uses the same storage", OthersUnknown: "denied"}
		}, status.Degraded, "b.test uses the same storage"},
		{"storage not looked at", func(r *status.Report) { r.Storage.Health.Stale = true }, status.Degraded,
			"the storage was last checked at 2026-03-04 05:06:07 UTC; the reason is in: journalctl -u redoubt-health"},
		{"a bucket that is not checked yet", func(r *status.Report) { *r.Storage = status.Storage{Type: "s3", Bucket: "b"} }, status.OK, ""},
		{"one bad check", func(r *status.Report) { r.Storage.Health.Failures, r.Storage.Health.Error = 1, "slow" }, status.Degraded,
			"the storage serves, but its last check failed: slow"},
		{"two bad checks", func(r *status.Report) { r.Storage.Health.Failures, r.Storage.Health.Error = 2, "slow" }, status.Degraded,
			"the storage serves, but its last 2 checks failed: slow"},
		{"a client's certificate", func(r *status.Report) { r.Clients = []string{"ci-1 ends"} }, status.Degraded, "ci-1 ends"},
		{"an endpoint that is away", func(r *status.Report) { r.Undelivered = "notifications.ci: cannot post" }, status.Degraded, "notifications.ci: cannot post"},
		{"a refused document", func(r *status.Report) { r.Configuration.Pending = "refused" }, status.Degraded, "refused"},
		{"a renewal that does not run", func(r *status.Report) {
			r.Certificate.Renewal, r.Certificate.Overdue = &renewal.Summary{Looked: r.Certificate.NotAfter}, true
		}, status.Degraded, "the certificate's renewal last ran at 2026-03-04 05:06:07 UTC; the reason is in: journalctl -u redoubt-renew"},
		{"cache", func(r *status.Report) { *r.Cache = status.Cache{Type: "redis", Error: "refused"} }, status.Degraded, "the cache does not answer: refused"},
		{"maintenance", func(r *status.Report) { r.Configuration.Errors = []string{"user-data:3:5: tls.mode: wrong"} }, status.Maintenance, "user-data:3:5: tls.mode: wrong"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := well()
			test.spoil(r)
			r.Judge()
			if r.Verdict != test.verdict || strings.Join(r.Problems, "|") != test.problem {
				t.Errorf("got %s %q, want %s %q", r.Verdict, r.Problems, test.verdict, test.problem)
			}
			if (r.Err() == nil) != (test.verdict == status.OK) {
				t.Errorf("error: %v", r.Err())
			}
			if first, _, _ := strings.Cut(r.String(), "\n"); !strings.HasPrefix(first, string(test.verdict)+": ") {
				t.Errorf("first line: %s", first)
			}
			if test.problem != "" && !strings.Contains(r.String(), "\n  - "+test.problem+"\n") {
				t.Errorf("no line for the problem:\n%s", r)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	r := well()
	r.Judge()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back status.Report
	if err := json.Unmarshal(data, &back); err != nil || back.String() != r.String() {
		t.Errorf("%v: %s", err, data)
	}
}

// What is not known of a bucket is not said of it.
func TestJSONOfABucket(t *testing.T) {
	r := well()
	r.Storage = &status.Storage{Type: "s3", Bucket: "b", Health: r.Storage.Health}
	r.Judge()
	data, err := json.Marshal(r.Storage)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"writable", "freeBytes", "usedBytes", "root"} {
		if strings.Contains(string(data), word) {
			t.Errorf("%s is in %s", word, data)
		}
	}
}

// When a certificate is renewed is one line, and a question to the CA is no renewal.
func TestRenewalRows(t *testing.T) {
	at := time.Date(2026, 11, 28, 9, 3, 6, 0, time.UTC)
	due := at.AddDate(0, 1, 0)
	plan := renewal.Plan{Renews: due, Reason: "the CA suggests it", Asks: at}
	for name, tc := range map[string]struct {
		summary renewal.Summary
		want    string
		without string
	}{
		"ACME": {renewal.Summary{Mode: "acme", Next: at, Why: "the CA is asked again", Plan: plan},
			"  renews      2026-12-28 09:03:06 UTC (the CA suggests it); asks again 2026-11-28 09:03:06 UTC\n", "next try"},
		"ACME, failed": {renewal.Summary{Mode: "acme", Next: at, Why: "after 2 failures", Failures: 2, Plan: plan},
			"  next try    2026-11-28 09:03:06 UTC (after 2 failures)\n", "  last look"},
		"no certificate yet": {renewal.Summary{Mode: "acme", Next: at, Why: "there is none yet"},
			"  next try    2026-11-28 09:03:06 UTC (there is none yet)\n", "  renews"},
		"the own CA": {renewal.Summary{Mode: "internal-ca", Next: due, Plan: renewal.Plan{Renews: due, Reason: "two thirds of the lifetime are over"}},
			"  renews      2026-12-28 09:03:06 UTC (two thirds of the lifetime are over)\n", "asks"},
		"files": {renewal.Summary{Mode: "files"}, "  renews      not by this machine", "next try"},
	} {
		r := well()
		r.Certificate.Renewal = &tc.summary
		r.Judge()
		if text := r.String(); !strings.Contains(text, tc.want) || strings.Contains(text, tc.without) {
			t.Errorf("%s: no %q, or a %q in:\n%s", name, tc.want, tc.without, text)
		}
	}
}
