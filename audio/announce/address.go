package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// openStream opens the RTP socket for a caller, and says what to put into SDP.
// The remote address is invalid when it is not known yet.
func (s *Server) openStream(remote netip.Addr, invite *sip.Request) (*stream, netip.AddrPort, error) {
	advertise, bind, err := s.mediaAddr(remote, invite)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	conn, err := s.ports.open(bind)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		_ = conn.Close()
		return nil, netip.AddrPort{}, errNoPort
	}
	return newStream(conn, s.m), netip.AddrPortFrom(advertise, local.AddrPort().Port()), nil
}

// mediaAddr chooses the address for SDP, and the one to bind. The switch is
// often on this very host while the caller's media is not: so it is the route
// to the media that counts.
func (s *Server) mediaAddr(remote netip.Addr, invite *sip.Request) (advertise, bind netip.Addr, err error) {
	if s.set.mediaIP.IsValid() {
		if remote.IsValid() && remote.Is4() != s.set.mediaIP.Is4() {
			return netip.Addr{}, netip.Addr{}, errAddress // no way from one family to the other
		}
		return s.set.mediaIP, s.bind, nil
	}
	if remote.IsValid() {
		local, err := localAddr(remote)
		return local, local, err
	}
	source, err := netip.ParseAddrPort(invite.Source())
	if err != nil {
		return netip.Addr{}, netip.Addr{}, err
	}
	local, err := localAddr(source.Addr().Unmap())
	return local, unspecified(local), err // media may yet come another way
}

func mediaResult(err error) result {
	if errors.Is(err, errNoPort) {
		return noPort
	}
	return noMedia
}

// contact is the Contact header of a response.
func (s *Server) contact(req *sip.Request) sip.Header {
	host, port := s.reachable(req)
	return sip.NewHeader("Contact", "<sip:ringfence@"+net.JoinHostPort(host, strconv.Itoa(port))+">")
}

// reachable is the address by which the sender of a request reaches this
// server.
func (s *Server) reachable(req *sip.Request) (host string, port int) {
	if s.set.advertise != "" {
		return s.set.advertise, s.set.advPort
	}
	if a := s.addr.Addr(); !a.IsUnspecified() {
		return a.String(), int(s.addr.Port())
	}
	if source, err := netip.ParseAddrPort(req.Source()); err == nil {
		if local, err := localAddr(source.Addr().Unmap()); err == nil {
			return local.String(), int(s.addr.Port())
		}
	}
	return s.addr.Addr().String(), int(s.addr.Port())
}

// localAddr is the address this host uses towards another one. Nothing is sent.
func localAddr(to netip.Addr) (netip.Addr, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no route to %v: %w", to, err)
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, fmt.Errorf("no local address towards %v", to)
	}
	return local.AddrPort().Addr().Unmap().WithZone(""), nil
}

// route is where a request inside the dialog of an INVITE goes: request URI,
// Route headers and next hop (RFC 3261, 12.2.1.1). The next hop is a configured
// peer in any case: the announcer sends SIP to nobody else, and asks no name
// server. Where the INVITE names another, its sender is taken.
func (s *Server) route(invite *sip.Request) (uri sip.Uri, routes []string, hop string) {
	uri = invite.From().Address
	if c := invite.Contact(); c != nil && !c.Address.Wildcard && c.Address.Host != "" {
		uri = c.Address
	}
	uri.Headers = nil
	next := uri
	for _, h := range invite.GetHeaders("Record-Route") {
		routes = append(routes, h.Value())
	}
	if first := invite.RecordRoute(); first != nil {
		next = first.Address
		if !hasParam(next.UriParams, "lr") { // a strict router of RFC 2543
			routes = append(routes[1:], "<"+uri.String()+">")
			uri = next
		}
	}
	hop = invite.Source()
	if a, err := netip.ParseAddr(strings.Trim(next.Host, "[]")); err == nil && s.set.isPeer(a) {
		port := next.Port
		if port == 0 {
			port = sip.DefaultUdpPort
		}
		hop = net.JoinHostPort(a.String(), strconv.Itoa(port))
	}
	return uri, routes, hop
}

func hasParam(params sip.HeaderParams, name string) bool {
	return slices.ContainsFunc(params, func(p sip.HeaderKV) bool { return strings.EqualFold(p.K, name) })
}
