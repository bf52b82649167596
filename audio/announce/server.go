package announce

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/hmsovereign/ringfence/audio"
)

// Log keys.
const (
	keyListen  = "listen"
	keyPeer    = "peer"
	keyCallID  = "call_id"
	keyMethod  = "method"
	keyPrompt  = "prompt"
	keyLang    = "language"
	keyResult  = "result"
	keyStatus  = "status"
	keyPackets = "packets"
	keyError   = "error"
	keyStack   = "stack"
)

// The library refuses to send more than its idea of an MTU. RFC 3261, 18.1.1
// says that of requests only: a response goes back the way the request came,
// and one with many Via and Record-Route headers is longer.
func init() { sip.UDPMTUSize = 65507 + 200 }

// ErrStarted is returned by Start for a server that was started before.
var ErrStarted = errors.New("announce: the server was started before")

// Server is a SIP announcer. Make it with New; it runs once.
type Server struct {
	set    settings
	lib    *audio.Library
	log    *slog.Logger
	m      *Metrics
	secret [32]byte // of the To tags
	ports  *ports
	pacer  *pacer

	conn     *peerConn
	addr     netip.AddrPort
	bind     netip.Addr // where RTP sockets bind when MediaIP is set
	ua       *sipgo.UserAgent
	client   *sipgo.Client
	stopPace context.CancelFunc
	workers  sync.WaitGroup // reader and pacer
	broken   chan struct{}  // closed when the reader ended unasked

	hurry     chan struct{} // closed: those playing end now
	hurryOnce sync.Once
	closeOnce sync.Once

	mu       sync.Mutex
	started  bool
	draining bool           // no announcement may begin
	closed   bool           // no handler may begin
	handlers sync.WaitGroup // requests being handled; Add only with mu held and closed false
	calls    sync.WaitGroup // announcements; Add only with mu held and draining false
	active   int            // announcements counted against MaxConcurrent
	dialogs  map[dialogID]*call
}

// New checks the configuration. The error names every field that is wrong.
func New(cfg Config, lib *audio.Library, log *slog.Logger, m *Metrics) (*Server, error) {
	set, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Server{
		set: set, lib: lib, log: log, m: m,
		ports: newPorts(set.PortMin, set.PortMax), pacer: newPacer(m),
		broken: make(chan struct{}), hurry: make(chan struct{}),
		dialogs: make(map[dialogID]*call),
	}
	if _, err := rand.Read(s.secret[:]); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	return s, nil
}

// sipBuffer holds a second of INVITEs at a rate that no limit here would admit.
const sipBuffer = 1 << 20

// Start binds the SIP address and begins to serve. When it returns without an
// error, [Server.Addr] is known and requests are answered. Errors: ErrStarted.
func (s *Server) Start() error {
	s.mu.Lock()
	done := s.started || s.draining
	s.mu.Unlock()
	if done {
		return ErrStarted
	}
	conn, err := net.ListenUDP("udp", s.set.listen)
	if err != nil {
		return fmt.Errorf("announce: listen for SIP: %w", err)
	}
	_ = conn.SetReadBuffer(sipBuffer) // as much of it as the system allows
	if err := s.start(conn); err != nil {
		_ = conn.Close() // the first error tells more
		return err
	}
	return nil
}

func (s *Server) start(conn net.PacketConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.draining {
		return ErrStarted
	}
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return fmt.Errorf("announce: %v is no UDP address", conn.LocalAddr())
	}
	s.addr = netip.AddrPortFrom(local.AddrPort().Addr().Unmap(), local.AddrPort().Port())
	s.bind = mediaBind(s.set.mediaIP)
	s.conn = newPeerConn(conn, s.set.isPeer, s.m)

	// The library logs whole messages, phone numbers included: it gets no
	// logger. What an operator needs is counted, or logged here.
	silent := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(
		sipgo.WithUserAgent("ringfence"),
		sipgo.WithUserAgentTransportLayerOptions(
			sip.WithTransportLayerLogger(silent),
			func(l *sip.TransportLayer) { l.OnMessage(s.onMessage) }),
		sipgo.WithUserAgentTransactionLayerOptions(
			sip.WithTransactionLayerLogger(silent),
			sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(silent))
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if s.client, err = sipgo.NewClient(ua, sipgo.WithClientLogger(silent)); err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	s.ua = ua
	server.OnInvite(s.handler(s.onInvite))
	server.OnAck(s.handler(s.onAck))
	server.OnBye(s.handler(s.onBye))
	server.OnCancel(s.handler(s.onCancel))
	server.OnOptions(s.handler(s.onOptions))
	server.OnNoRoute(s.handler(s.onOther))

	ctx, stop := context.WithCancel(context.Background())
	s.stopPace = stop
	s.started = true
	s.workers.Go(func() { s.pacer.run(ctx) })
	s.workers.Go(func() { s.read(server) })
	s.log.Info("announcer listening", keyListen, s.addr.String())
	return nil
}

// mediaBind is where RTP sockets bind for a configured media address: to it, or
// to all addresses when it is not this host's own, being translated on the way.
func mediaBind(ip netip.Addr) netip.Addr {
	if !ip.IsValid() {
		return ip
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return unspecified(ip)
	}
	_ = conn.Close() // it only had to be possible
	return ip
}

func unspecified(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// readPause is the wait before reading again after a socket's error.
const readPause = 50 * time.Millisecond

// read serves the socket until it is closed. A panic in the parser must not end
// a process that meters live calls: it costs one datagram.
func (s *Server) read(server *sipgo.Server) {
	for {
		s.conn.failure = nil
		err := errors.Join(s.serve(server), s.conn.failure)
		if errors.Is(err, net.ErrClosed) {
			close(s.broken)
			return
		}
		if err != nil {
			s.log.Warn("reading SIP failed, trying again", keyError, err)
		}
		select {
		case <-time.After(readPause):
		case <-s.hurry:
		}
	}
}

func (s *Server) serve(server *sipgo.Server) (err error) {
	defer s.recovered("", nil)
	return server.ServeUDP(s.conn)
}

// recovered reports a panic instead of passing it on. It is deferred.
func (s *Server) recovered(method sip.RequestMethod, after func()) {
	if p := recover(); p != nil {
		s.m.panics.Inc()
		s.log.Error("panic while handling SIP", keyMethod, string(method), keyError, p, keyStack, string(debug.Stack()))
		if after != nil {
			after()
		}
	}
}

// Addr is the address of the SIP socket, once started.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Run starts the server unless that is done, and serves until the context ends.
// Then it takes no new announcements and lets those playing finish, for
// StopTimeout at most. It returns nil after a stop it was asked for.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Start(); err != nil && !errors.Is(err, ErrStarted) {
		return err
	}
	var err error
	select {
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.set.StopTimeout)
		defer cancel()
		ctx = stop
	case <-s.broken:
		err = errors.New("announce: the SIP socket failed")
		s.hurryUp()
	case <-s.hurry:
	}
	s.shutdown(ctx)
	return err
}

// Close ends everything at once: each caller gets the final reply in the middle
// of the prompt. It may be called during Run's stop, to hurry it, and returns
// when nothing runs any more.
func (s *Server) Close() {
	s.hurryUp()
	s.shutdown(context.Background())
}

func (s *Server) hurryUp() { s.hurryOnce.Do(func() { close(s.hurry) }) }

// shutdown waits for the announcements until the context ends, hurries what is
// left, and takes everything down.
func (s *Server) shutdown(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() { // ends with the announcements, which hurrying bounds
		s.calls.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-s.hurry:
	case <-ctx.Done():
	}
	s.hurryUp()
	<-idle

	s.mu.Lock()
	s.closed = true
	started := s.started
	s.mu.Unlock()
	s.handlers.Wait()
	if !started {
		return
	}
	s.closeOnce.Do(func() {
		s.conn.retire(s.ua.TransportLayer().Pool("udp"), s.broken)
		s.stopPace()
		s.workers.Wait()
		s.ua.TransactionLayer().Close()
		s.log.Info("announcer stopped", keyListen, s.addr.String())
	})
}

// handler wraps what every request goes through.
func (s *Server) handler(handle sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		s.handlers.Add(1)
		s.mu.Unlock()
		defer s.handlers.Done()
		defer s.recovered(req.Method, func() { s.respond(tx, newReply(req, 500, "Server Internal Error")) })

		s.m.requests.WithLabelValues(methodLabel(req.Method)).Inc()
		if refusal := inspect(req); refusal != nil {
			if !req.IsAck() { // an ACK has no reply
				s.respond(tx, refusal)
			}
			return
		}
		handle(req, tx)
	}
}

// methodLabel keeps the label bounded: a peer can invent methods.
func methodLabel(m sip.RequestMethod) string {
	switch m {
	case sip.INVITE, sip.ACK, sip.BYE, sip.CANCEL, sip.OPTIONS, sip.REGISTER, sip.SUBSCRIBE, sip.NOTIFY, sip.PUBLISH,
		sip.REFER, sip.INFO, sip.MESSAGE, sip.PRACK, sip.UPDATE:
		return string(m)
	}
	return "other"
}

// respond sends a response. It reports false when that failed: the transaction
// is over, or the network refuses.
func (s *Server) respond(tx sip.ServerTransaction, res *sip.Response) bool {
	if !res.IsProvisional() {
		s.m.reply(res.StatusCode)
	}
	if err := tx.Respond(res); err != nil {
		s.log.Debug("SIP response not sent", keyStatus, res.StatusCode, keyError, err)
		return false
	}
	return true
}

// retryAfter is the header of a 503.
func (s *Server) retryAfter() sip.Header {
	return sip.NewHeader("Retry-After", strconv.Itoa(int((s.set.RetryAfter+time.Second-1)/time.Second)))
}

// onOptions tells a switch that probes its destinations whether to send calls
// here (RFC 3261, 11).
func (s *Server) onOptions(req *sip.Request, tx sip.ServerTransaction) {
	if refusal := inspectTarget(req); refusal != nil {
		s.respond(tx, refusal)
		return
	}
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	if draining {
		s.respond(tx, newReply(req, 503, "Service Unavailable", s.retryAfter()))
		return
	}
	s.respond(tx, newReply(req, 200, "OK", sip.NewHeader("Allow", allowed), sip.NewHeader("Accept", "application/sdp")))
}

// onCancel gets a CANCEL that matches no INVITE; the library does the others.
func (s *Server) onCancel(req *sip.Request, tx sip.ServerTransaction) {
	s.respond(tx, newReply(req, 481, "Call/Transaction Does Not Exist"))
}

func (s *Server) onBye(req *sip.Request, tx sip.ServerTransaction) {
	if refusal := inspectTarget(req); refusal != nil {
		s.respond(tx, refusal)
		return
	}
	c := s.find(dialogOf(req))
	if c == nil {
		s.respond(tx, newReply(req, 481, "Call/Transaction Does Not Exist"))
		return
	}
	c.end(hungUp) // before the reply: whoever reads it hears nothing more
	s.respond(tx, newReply(req, 200, "OK"))
}

// onAck gets the ACK of a 2xx; the library does the others.
func (s *Server) onAck(req *sip.Request, _ sip.ServerTransaction) {
	if c := s.find(dialogOf(req)); c != nil {
		select {
		case c.ack <- req:
		default: // a retransmission
		}
	}
}

func (s *Server) onOther(req *sip.Request, tx sip.ServerTransaction) {
	s.respond(tx, newReply(req, 405, "Method Not Allowed", sip.NewHeader("Allow", allowed)))
}

func (s *Server) find(id dialogID) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialogs[id]
}
