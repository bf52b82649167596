package announce

import (
	"bytes"
	"net"
	"net/netip"
)

// peerConn is the SIP socket as the SIP library sees it: only datagrams of
// configured peers come in. Reading happens in one goroutine.
type peerConn struct {
	net.PacketConn
	peer func(netip.Addr) bool
	m    *Metrics

	// pending is set while the last datagram has not become a message: the
	// library tells nobody when it cannot parse one, but it comes back here.
	pending bool
	// failure is the error that ended the library's reading, which it keeps
	// to itself.
	failure error
}

// ReadFrom implements net.PacketConn.
func (c *peerConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.pending {
		c.pending = false
		c.m.malformed.Inc()
	}
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			c.failure = err
			return n, from, err
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok || !c.peer(udp.AddrPort().Addr()) {
			c.m.refused.Inc()
			continue
		}
		if len(bytes.Trim(b[:n], "\r\n\x00")) == 0 {
			continue // keep-alive (RFC 5626, 3.5.1)
		}
		c.pending = true
		return n, from, nil
	}
}

// parsed tells that the datagram last read is a message.
func (c *peerConn) parsed() { c.pending = false }
