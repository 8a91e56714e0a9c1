package clientca

import "time"

// warning is how long before its end people are told of a client's certificate.
const warning = 14 * 24 * time.Hour

// Ending are the clients of list whose certificate ends within 14 days, or has no more than
// a third of its lifetime left if that is less, and who have none that ends later. One that
// was revoked, or has ended, is nobody's matter.
func Ending(list []Client, now time.Time) []Client {
	last := map[string]time.Time{}
	for _, c := range list {
		if c.Revoked == nil && c.NotAfter.After(last[c.Name]) {
			last[c.Name] = c.NotAfter
		}
	}
	var out []Client
	for _, c := range list {
		left := c.NotAfter.Sub(now)
		if c.Revoked == nil && left > 0 && left <= min(warning, c.NotAfter.Sub(c.Issued)/3) && !last[c.Name].After(c.NotAfter) {
			out = append(out, c)
		}
	}
	return out
}
