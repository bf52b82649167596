package notify

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// ErrBlocked: a URL leads to an address that customers may not have called.
var ErrBlocked = errors.New("the address is not a public one")

// reserved are the networks that are no place of a customer's, beyond what netip knows (IANA special-purpose address
// registries; RFC 6890). Of IPv6 only 2000::/3 is public at all.
var reserved = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var public6 = netip.MustParsePrefix("2000::/3")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// guard says which addresses may be called.
type guard struct {
	allow []netip.Prefix // besides the public ones
	http  bool           // without TLS too
}

// permits tells whether an address may be called.
func (g *guard) permits(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	return g.allowed(a) || public(a)
}

func (g *guard) allowed(a netip.Addr) bool {
	for _, p := range g.allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func public(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Is6() && !public6.Contains(a) {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// control is a net.Dialer's: it sees the address that is about to be connected to.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrBlocked, address)
	}
	if !g.permits(at.Addr()) {
		return ErrBlocked
	}
	return nil
}

const maxURL = 2000

// check finds what is wrong with a webhook's URL, before anything is sent there. Errors: *ledger.FieldError.
func (g *guard) check(raw string) error {
	wrong := func(format string, args ...any) error {
		return &ledger.FieldError{Field: "url", Message: fmt.Sprintf(format, args...)}
	}
	if len(raw) > maxURL {
		return wrong("Write a URL of at most %d characters.", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return wrong("Write a URL such as https://example.com/hook.")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	literal, err := netip.ParseAddr(host)
	isLiteral := err == nil
	switch {
	case host == "":
		return wrong("Write the host into the URL, as in https://example.com/hook.")
	case u.User != nil:
		return wrong("Leave user and password out of the URL, where they would be shown; the signature proves who calls.")
	case u.Fragment != "":
		return wrong("Leave out the fragment after #, which is never sent.")
	case isLiteral && !g.permits(literal), !isLiteral && g.local(host):
		return wrong("Write a URL that leads to a public address.")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return wrong("Write a URL that begins with https://.")
	case g.http || isLiteral && g.allowed(literal.Unmap()):
		return nil
	}
	return wrong("Write a URL that begins with https://.")
}

// local tells whether a name can only be one of this machine.
func (g *guard) local(host string) bool {
	return (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.allowed(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

// dialer connects to permitted addresses only.
func (g *guard) dialer(resolver *net.Resolver) *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Resolver: resolver, Control: g.control}
}
