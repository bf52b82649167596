package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Mode says how the prompt reaches the caller.
type Mode string

// The modes.
const (
	Early  Mode = "early"  // 183, early media, final reply
	Answer Mode = "answer" // 200, media, BYE
)

// Config is what the operator decides. The zero value of a field means its
// default, given with it.
type Config struct {
	// Listen is the UDP address for SIP: "127.0.0.1:5092". Port 0 lets the
	// system choose, for tests.
	Listen string
	// Advertise is the host:port by which peers reach Listen, for the Contact
	// header; the local address towards the peer when empty.
	Advertise string
	// Peers are the addresses and prefixes (CIDR) of the switches that may
	// talk to the announcer: "127.0.0.0/8", "::1". Others get no answer.
	Peers []string
	// Mode is used where the request URI names none: Early.
	Mode Mode
	// MediaIP is the address put into SDP. When empty it is the local address
	// towards the caller's media, which is right unless this host is behind
	// NAT, or has several addresses of which only one is reachable.
	MediaIP string
	// PortMin and PortMax bound the UDP ports for RTP, both inclusive: 61000
	// to 64999, above Linux's ephemeral range. Each announcement takes one
	// even port.
	PortMin, PortMax int
	// MaxConcurrent limits the announcements at one time: 500. More get 503
	// with Retry-After.
	MaxConcurrent int
	// RetryAfter is what that Retry-After says: 5 s.
	RetryAfter time.Duration
	// AckTimeout is how long an answered announcement waits for its ACK:
	// 32 s, 64 times T1 (RFC 3261, 13.3.1.4).
	AckTimeout time.Duration
	// StopTimeout is how long Run lets announcements finish when it is asked
	// to stop: 10 s. Then each gets its final reply at once.
	StopTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:5092"
	}
	if len(c.Peers) == 0 {
		c.Peers = []string{"127.0.0.0/8", "::1"}
	}
	if c.Mode == "" {
		c.Mode = Early
	}
	if c.PortMin == 0 && c.PortMax == 0 {
		c.PortMin, c.PortMax = 61000, 64999
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = 500
	}
	if c.RetryAfter == 0 {
		c.RetryAfter = 5 * time.Second
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = 32 * time.Second
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 10 * time.Second
	}
	return c
}

// settings is a Config that has been checked and taken apart.
type settings struct {
	Config
	listen    *net.UDPAddr
	peers     []netip.Prefix
	mediaIP   netip.Addr // invalid: by route
	advertise string
	advPort   int
}

// check returns the settings, or all that is wrong, naming field and value.
func (c Config) check() (settings, error) {
	c = c.withDefaults()
	s := settings{Config: c}
	var problems []error
	bad := func(field string, value any, want string) {
		problems = append(problems, fmt.Errorf("announce: %s: %v: want %s", field, value, want))
	}

	var err error
	if s.listen, err = resolveListen(c.Listen); err != nil {
		bad("Listen", c.Listen, "an IP address and a port, such as 127.0.0.1:5092")
	}
	for _, p := range c.Peers {
		prefix, err := parsePeer(p)
		if err != nil {
			bad("Peers", p, "an IP address or a prefix, such as 192.0.2.7 or 192.0.2.0/24")
			continue
		}
		s.peers = append(s.peers, prefix)
	}
	if c.Mode != Early && c.Mode != Answer {
		bad("Mode", c.Mode, "early or answer")
	}
	if c.MediaIP != "" {
		s.mediaIP, err = netip.ParseAddr(c.MediaIP)
		s.mediaIP = s.mediaIP.Unmap()
		if err != nil || s.mediaIP.IsUnspecified() || s.mediaIP.IsMulticast() {
			bad("MediaIP", c.MediaIP, "an IP address that callers can reach")
		}
	}
	if c.Advertise != "" {
		host, port, err := net.SplitHostPort(c.Advertise)
		n, perr := net.LookupPort("udp", port)
		if err != nil || perr != nil || host == "" || n == 0 || strings.ContainsAny(host, " <>;?@\"\r\n") {
			bad("Advertise", c.Advertise, "host:port")
		}
		s.advertise, s.advPort = host, n
	}
	if c.PortMin < 1024 || c.PortMax > 65535 || evenUp(c.PortMin) > c.PortMax {
		bad("PortMin, PortMax", fmt.Sprintf("%d to %d", c.PortMin, c.PortMax), "ports from 1024 to 65535 with an even one among them")
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"RetryAfter", c.RetryAfter}, {"AckTimeout", c.AckTimeout}, {"StopTimeout", c.StopTimeout}} {
		if f.value < 0 {
			bad(f.name, f.value, "no negative time")
		}
	}
	if n := (c.PortMax-evenUp(c.PortMin))/2 + 1; c.MaxConcurrent < 0 || c.MaxConcurrent > n {
		bad("MaxConcurrent", c.MaxConcurrent, fmt.Sprintf("1 to %d, the number of even ports from %d to %d", n, c.PortMin, c.PortMax))
	}
	return s, errors.Join(problems...)
}

// resolveListen takes IP addresses only: a name that resolves to something else
// tomorrow is no place to listen.
func resolveListen(s string) (*net.UDPAddr, error) {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(ap), nil
}

func parsePeer(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (s *settings) isPeer(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range s.peers {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func evenUp(port int) int { return port + port&1 }
