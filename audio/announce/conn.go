package announce

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
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
	// sources are the senders of the latest messages; for retire.
	sources [256]string
	next    int

	retiring  atomic.Bool
	quiet     chan struct{} // closed when the reader has seen retiring
	quietOnce sync.Once
	gone      chan struct{} // closed when the reader may leave
}

func newPeerConn(conn net.PacketConn, peer func(netip.Addr) bool, m *Metrics) *peerConn {
	return &peerConn{PacketConn: conn, peer: peer, m: m, quiet: make(chan struct{}), gone: make(chan struct{})}
}

// ReadFrom implements net.PacketConn.
func (c *peerConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.pending {
		c.pending = false
		c.m.malformed.Inc()
	}
	for {
		if c.retiring.Load() {
			c.quietOnce.Do(func() { close(c.quiet) })
			<-c.gone
			c.failure = net.ErrClosed
			return 0, nil, net.ErrClosed
		}
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil {
			if c.retiring.Load() {
				continue
			}
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

// parsed tells that the datagram last read is a message, and of whom.
func (c *peerConn) parsed(source string) {
	c.pending = false
	c.sources[c.next%len(c.sources)] = source
	c.next++
}

// retire ends the reading. The library handles each request in a goroutine of
// its own. One that has not got far when the socket goes away would not find
// it, look up the host of the Via header, and open a new socket that nobody
// closes. So reading stops first, then the latest senders' entries in the
// library's table get a connection that swallows everything, and only then the
// reader may leave and remove its own. A reader that is gone, having failed, is
// not waited for.
func (c *peerConn) retire(table *sip.ConnectionPool, failed <-chan struct{}) {
	c.retiring.Store(true)
	_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; one that failed has no use for it
	select {
	case <-c.quiet:
		for _, source := range c.sources {
			if source != "" {
				table.Add(source, grave{c.LocalAddr()})
			}
		}
	case <-failed:
	}
	close(c.gone)
	_ = c.Close() // UDP: nothing to flush
}

// grave is a connection for replies that nobody can send any more.
type grave struct{ addr net.Addr }

var errRetired = errors.New("announce: the SIP socket is closed")

func (g grave) LocalAddr() net.Addr        { return g.addr }
func (g grave) WriteMsg(sip.Message) error { return errRetired }
func (g grave) Ref(int) int                { return 1 }
func (g grave) TryClose() (int, error)     { return 1, nil }
func (g grave) Close() error               { return nil }
