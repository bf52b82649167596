package announce

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"

	"github.com/pion/rtp"
)

const (
	frameBytes = 160 // 20 ms of G.711, and the step of the RTP timestamp
	headerSize = 12  // an RTP header without extensions

	// maxSendFailures in a row (200 ms) mean that there is no way to the
	// caller, who had better get the final reply than silence.
	maxSendFailures = 10

	// maxReadFailures gives up on latching; the prompt still goes to the
	// address of the SDP.
	maxReadFailures = 10
)

var errNoPort = errors.New("no free RTP port")

// stream is one announcement's RTP. The pacer drives it.
type stream struct {
	conn *net.UDPConn
	m    *Metrics
	done chan struct{} // closed when the prompt is over or cannot be sent

	readers sync.WaitGroup

	mu       sync.Mutex // guards all below; held while a packet is sent
	header   rtp.Header
	sound    []byte // what is left of the prompt
	silence  byte
	remote   netip.AddrPort
	buf      [headerSize + frameBytes]byte
	sent     int
	failures int
	over     bool
	err      error // why it ended early
}

func newStream(conn *net.UDPConn, m *Metrics) *stream {
	return &stream{conn: conn, m: m, done: make(chan struct{})}
}

// play prepares the prompt for the peer and begins to look for its true
// address. SSRC, sequence and timestamp begin at random (RFC 3550, 5.1).
func (s *stream) play(sound []byte, d *description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.sound, s.silence, s.remote = sound, d.codec.silence, d.remote
	s.header = rtp.Header{
		Version: 2, Marker: true, PayloadType: d.payload,
		SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32(), SSRC: rand.Uint32(),
	}
	s.readers.Go(func() { s.latch(d.remote) })
}

// frame sends the next 20 ms. The turn after the last packet ends the stream,
// so that the final reply does not overtake the end of the sound.
func (s *stream) frame() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	if len(s.sound) == 0 {
		s.finish(nil)
		return false
	}
	if _, err := s.header.MarshalTo(s.buf[:]); err != nil {
		s.finish(err)
		return false
	}
	n := copy(s.buf[headerSize:], s.sound)
	s.sound = s.sound[n:]
	for i := headerSize + n; i < len(s.buf); i++ {
		s.buf[i] = s.silence
	}
	s.header.Marker = false
	s.header.SequenceNumber++
	s.header.Timestamp += frameBytes
	if _, err := s.conn.WriteToUDPAddrPort(s.buf[:], s.remote); err != nil {
		// A full buffer or a route that flaps: the next packet may pass.
		if s.failures++; s.failures >= maxSendFailures {
			s.finish(fmt.Errorf("send RTP: %w", err))
			return false
		}
		return true
	}
	s.sent++
	s.failures = 0
	return true
}

// finish ends the stream; mu is held.
func (s *stream) finish(err error) {
	if !s.over {
		s.over, s.err = true, err
		close(s.done)
	}
}

// stop ends the stream. No packet leaves after it returns.
func (s *stream) stop() {
	s.mu.Lock()
	s.finish(nil)
	s.mu.Unlock()
	_ = s.conn.Close() // a UDP socket has nothing left to lose
	s.readers.Wait()
}

// outcome is how many packets were sent, and why the stream ended early if it
// did.
func (s *stream) outcome() (sent int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.err
}

// latch waits for the first RTP packet from the peer and sends to its source
// from then on. Then it reads no more: a caller sends fifty packets a second,
// and reading them would double the work of an announcement. The kernel drops
// what nobody reads.
func (s *stream) latch(signalled netip.AddrPort) {
	buf := make([]byte, 1500)
	for failures := 0; failures < maxReadFailures; {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failures++
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		var h rtp.Header
		if _, err := h.Unmarshal(buf[:n]); err != nil || h.Version != 2 || !trusted(from.Addr(), signalled.Addr()) {
			continue
		}
		if from == signalled {
			return
		}
		s.mu.Lock()
		s.remote = from
		s.mu.Unlock()
		s.m.latched.Inc()
		return
	}
}

var carrierNAT = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

// trusted says whether media may be redirected to where a packet came from. Its
// own address on another port: yes. Another address only if the signalled one
// cannot be right because the phone is behind NAT; else anybody who sprays
// packets at the port range could draw an announcement to himself.
func trusted(from, signalled netip.Addr) bool {
	return from == signalled || signalled.IsPrivate() || signalled.IsLoopback() ||
		signalled.IsLinkLocalUnicast() || carrierNAT.Contains(signalled)
}

// ports hands out RTP sockets.
type ports struct {
	min, max int // inclusive; even ports only, as RFC 3550 asks

	mu   sync.Mutex
	next int
}

func newPorts(low, high int) *ports {
	low = evenUp(low)
	p := &ports{min: low, max: high}
	// A start at random keeps a late packet of the previous process' calls
	// from reaching a new one.
	p.next = low + 2*rand.IntN((high-low)/2+1)
	return p
}

// open binds the next free port of the range; others may use it too.
func (p *ports) open(ip netip.Addr) (*net.UDPConn, error) {
	var last error
	for range (p.max-p.min)/2 + 1 {
		p.mu.Lock()
		port := p.next
		if p.next += 2; p.next > p.max {
			p.next = p.min
		}
		p.mu.Unlock()
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port))))
		if err == nil {
			// What arrives after latching only waits to be dropped.
			_ = conn.SetReadBuffer(4096) // smaller is better, any size works
			return conn, nil
		}
		last = err
	}
	return nil, fmt.Errorf("%w in %d to %d on %v: %w", errNoPort, p.min, p.max, ip, last)
}
