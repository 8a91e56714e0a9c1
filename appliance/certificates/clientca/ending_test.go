package clientca_test

import (
	"testing"
	"time"

	"github.com/redoubt-registry/redoubt/appliance/certificates/clientca"
)

func TestEnding(t *testing.T) {
	revoked := start
	one := func(name string, days int) clientca.Client {
		return clientca.Client{Name: name, Issued: start, NotAfter: start.Add(time.Duration(days) * day)}
	}
	gone := one("ci-1", 90)
	gone.Revoked = &revoked
	for name, tc := range map[string]struct {
		list []clientca.Client
		day  int
		want int
	}{
		"fifteen days before":      {[]clientca.Client{one("ci-1", 90)}, 75, 0},
		"fourteen days before":     {[]clientca.Client{one("ci-1", 90)}, 76, 1},
		"the last day":             {[]clientca.Client{one("ci-1", 90)}, 89, 1},
		"at its end":               {[]clientca.Client{one("ci-1", 90)}, 90, 0},
		"revoked":                  {[]clientca.Client{gone}, 80, 0},
		"replaced":                 {[]clientca.Client{one("ci-1", 90), one("ci-1", 170)}, 80, 0},
		"by one that was revoked":  {[]clientca.Client{one("ci-1", 85), gone}, 80, 1},
		"by one of another client": {[]clientca.Client{one("ci-1", 90), one("ci-2", 170)}, 80, 1},
		"of six days, the first":   {[]clientca.Client{one("ci-1", 6)}, 3, 0},
		"of six days, the last":    {[]clientca.Client{one("ci-1", 6)}, 5, 1},
		"none":                     {nil, 5, 0},
	} {
		if got := clientca.Ending(tc.list, start.Add(time.Duration(tc.day)*day)); len(got) != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
