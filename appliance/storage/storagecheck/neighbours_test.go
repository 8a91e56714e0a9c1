//go:build integration

package storagecheck

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/storage/neighbours"
	"github.com/redoubt-registry/redoubt/test/stores"
)

// named is a station of another machine.
func named(t *testing.T, storage, name, auth string) *station {
	t.Helper()
	s := newStation(t, storage)
	check(t, os.MkdirAll(filepath.Join(s.Root, "etc"), 0o755))
	check(t, os.WriteFile(filepath.Join(s.Root, "etc/machine-id"), []byte(name), 0o600))
	data, err := os.ReadFile(s.Registry)
	check(t, err)
	data = append(data, "http: {host: https://"+name+".test}\nauth: {redoubt: {"+auth+"}}\n"...)
	check(t, os.WriteFile(s.Registry, data, 0o600))
	return s
}

// beat checks a minute after the last time.
func (s *station) beat() error {
	s.t.Helper()
	settings, err := s.Settings()
	check(s.t, err)
	state := neighbours.Read(s.Neighbours, settings.Place.String())
	state.Beat = state.Beat.Add(-time.Minute)
	check(s.t, state.Write(s.Neighbours))
	return s.Keep(s.t.Context())
}

// Two machines that use one bucket with nodes: 1 find each other, and people are told of
// it once. With nodes: 2 they are meant to.
func TestTwoMachinesOnABucket(t *testing.T) {
	t.Parallel()
	each(t, stores.Options{}, func(t *testing.T, s *stores.Store) {
		for auth, want := range map[string]string{"realm: r": "uses the same storage (bucket ", "nodes: 2": ""} {
			storage := fmt.Sprintf("  s3: {bucket: %s, region: %s, regionendpoint: %q, accesskey: %s, secretkey: %s, rootdirectory: /some}\n",
				s.NewBucket(t), s.Region, s.Endpoint, s.AccessKey, s.SecretKey)
			machines := []*station{named(t, storage, "a", auth), named(t, storage, "b", auth)}
			told := []int{0, 0}
			for range 4 {
				for i, m := range machines {
					err := m.beat()
					if err != nil && want != "" && strings.Contains(err.Error(), want) {
						told[i]++
					} else {
						check(t, err)
					}
				}
			}
			for i, m := range machines {
				settings, err := m.Settings()
				check(t, err)
				problem, unknown := neighbours.Problem(m.Neighbours, settings.Place.String())
				if !strings.Contains(problem, want) || (problem == "") != (want == "") || unknown != "" {
					t.Errorf("%s, machine %d: %q, %q", auth, i, problem, unknown)
				}
				if want != "" && told[i] != 1 {
					t.Errorf("machine %d: told %d times", i, told[i])
				}
			}
		}
	})
}
