package forwarded

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// The headers that a proxy tells of the client by.
const (
	forHeader   = "X-Forwarded-For"
	protoHeader = "X-Forwarded-Proto"
	hostHeader  = "X-Forwarded-Host"
)

// claims are the headers that say something of the client, ours and others'. Upstream
// would believe some of them of anybody. Forwarded (RFC 7239) is not read: a proxy that
// sets only X-Forwarded-For passes on the Forwarded of its client, and we could not tell
// which of the two is the proxy's word.
var claims = []string{forHeader, protoHeader, hostHeader, "Forwarded", "X-Forwarded-Port", "X-Real-Ip"}

// host is a name or an address with a port or without.
var host = regexp.MustCompile(`^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

// Resolve makes r what the client asked of the proxy, where one of p sends it:
// RemoteAddr is the client's, and of the headers only X-Forwarded-Proto and -Host stay.
// Of anybody else no such header stays.
func (p Proxies) Resolve(r *http.Request) {
	said := r.Header.Values(forHeader)
	proto, asked := last(r.Header.Values(protoHeader)), last(r.Header.Values(hostHeader))
	for _, name := range claims {
		r.Header.Del(name)
	}
	end, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !p.Has(end.Addr()) {
		return
	}
	if client, ok := p.client(strings.Join(said, ",")); ok {
		// The port is the proxy's, which tells its connections apart.
		r.RemoteAddr = netip.AddrPortFrom(client, end.Port()).String()
	}
	if proto == "http" || proto == "https" {
		r.Header.Set(protoHeader, proto)
	}
	if host.MatchString(asked) {
		r.Header.Set(hostHeader, asked)
	}
}

// client is the last one in X-Forwarded-For that is no proxy: what stands before it may
// be the client's own invention. Of proxies alone it is the first. What is no address
// ends the list.
func (p Proxies) client(said string) (netip.Addr, bool) {
	var client netip.Addr
	hops := strings.Split(said, ",")
	for i := len(hops) - 1; i >= 0; i-- {
		addr, ok := address(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		client = addr
		if !p.Has(addr) {
			break
		}
	}
	return client, client.IsValid()
}

// address reads an address with a port or without, as proxies write it.
func address(text string) (netip.Addr, bool) {
	if h, _, err := net.SplitHostPort(text); err == nil {
		text = h
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

// last is the value that the nearest proxy gave: some add theirs to the client's.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	all := strings.Split(values[len(values)-1], ",")
	return strings.ToLower(strings.TrimSpace(all[len(all)-1]))
}

// Base is the part of an URL that stands before the path, as the client asked the proxy
// for r: empty where the proxy does not say both of it.
func Base(r *http.Request) string {
	proto, host := r.Header.Get(protoHeader), r.Header.Get(hostHeader)
	if proto == "" || host == "" {
		return ""
	}
	return proto + "://" + host
}
