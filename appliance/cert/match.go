package cert

import "crypto/x509"

// NamesAre says whether c is for exactly the names of want, in any order.
func NamesAre(c *x509.Certificate, want []string) bool {
	set, err := parseNames(want)
	return err == nil && names(c).equal(set)
}
