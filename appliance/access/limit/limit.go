// Package limit decides whose password is checked next, and who has failed too
// often. It holds that a stranger's wrong passwords cost the stranger: of those
// who wait, who has failed least comes first, and who fails on is refused for a
// time.
package limit

import (
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Client is who wants a password checked.
type Client struct {
	Address    netip.Prefix      // an IPv4 address, or the /64 of an IPv6 address
	Connection netip.AddrPort    // the other end of the connection
	User       [sha256.Size]byte // a hash, since a name can be a megabyte long
}

// ClientOf returns the client at remote, an address and a port as in
// http.Request.RemoteAddr, who says to be user. A remote that is none of an IP
// network, such as a unix socket's, shares one address with all others such.
func ClientOf(remote, user string) Client {
	c := Client{User: sha256.Sum256([]byte(user))}
	end, err := netip.ParseAddrPort(remote)
	if err != nil {
		return c
	}
	addr := end.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64 // what one subscriber has at least (RFC 6177, RFC 7934)
	}
	c.Connection = end
	c.Address, _ = addr.Prefix(bits) // fails only for more bits than there are
	return c
}

// Refused says that a password is not checked now. RetryAfter is in whole
// seconds, as the header has it (RFC 9110 10.2.3).
type Refused struct {
	RetryAfter time.Duration
	Crowded    bool // not the client's failures: too many others wait
}

func (e *Refused) Error() string {
	why := "too many wrong passwords"
	if e.Crowded {
		why = "too many logins at once"
	}
	return fmt.Sprintf("%s: try again in %d seconds", why, int(e.RetryAfter.Seconds()))
}

// refused rounds up to a second, so that who waits that long is let in.
func refused(wait time.Duration) *Refused {
	return &Refused{RetryAfter: time.Duration(math.Ceil(wait.Seconds())) * time.Second}
}

// Bucket bounds failures: Burst of them, and one more after each Every.
type Bucket struct {
	Burst int
	Every time.Duration
}

// Limits are the bounds of a Queue and a Gate. Each counts failures alone: a
// right password costs nothing.
type Limits struct {
	Address Bucket
	// User counts the failures of one name from everywhere. Past it only addresses
	// with a failure of their own are refused, so that nobody locks out a user who
	// comes from another one.
	User Bucket
	// Spare is for connections without a failure at an address that is past its
	// limits, or whose user is: many users may be behind one address.
	Spare Bucket

	Known   int           // clients of each kind whose failures are remembered
	Waiting int           // clients
	Working int           // checks at a time
	MaxWait time.Duration // then a client is refused
}

// Default returns the bounds of a machine that checks so many passwords at a time.
func Default(working int) Limits {
	return Limits{
		Address: Bucket{60, 5 * time.Second},
		User:    Bucket{20, 10 * time.Second},
		Spare:   Bucket{3, time.Second},
		Known:   8192,
		Waiting: 512,
		Working: working,
		MaxWait: 15 * time.Second,
	}
}
