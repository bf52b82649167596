package announce

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/hmsovereign/ringfence/audio"
)

// call is one announcement, from INVITE to final reply or BYE. The goroutine of
// its INVITE owns it; CANCEL, BYE and the server's stop only call end.
type call struct {
	s      *Server
	invite *sip.Request
	tx     sip.ServerTransaction
	target target
	clip   *audio.Clip
	id     dialogID

	ack   chan *sip.Request // of the 2xx
	ended chan struct{}     // closed by the first end

	mu     sync.Mutex
	over   bool
	result result
	stream *stream
}

// end settles how the announcement ends, unless that is settled already, and
// silences it at once.
func (c *call) end(r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over, c.result = true, r
	if c.stream != nil {
		c.stream.stop()
	}
	close(c.ended)
}

// attach gives the call its stream. It reports false when the call has ended
// meanwhile; the stream is stopped then.
func (c *call) attach(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		s.stop()
		return false
	}
	c.stream = s
	return true
}

func (c *call) outcome() result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// onInvite handles an INVITE to its end: the library ends the transaction when
// this returns before a final reply.
func (s *Server) onInvite(req *sip.Request, tx sip.ServerTransaction) {
	if refusal := inspectTarget(req); refusal != nil {
		s.respond(tx, refusal)
		return
	}
	id := dialogOf(req)
	if id.local != s.tag(req) {
		// A re-INVITE: an announcement is not renegotiated (RFC 3261, 14.2).
		if s.find(id) != nil {
			s.respond(tx, newReply(req, 488, "Not Acceptable Here"))
		} else {
			s.respond(tx, newReply(req, 481, "Call/Transaction Does Not Exist"))
		}
		return
	}
	t, ok := parseTarget(&req.Recipient, s.set.Mode)
	clip, found := s.lib.Find(t.prompt, t.account, t.language)
	if !ok || !found {
		s.m.end(unknown)
		f := finals[audio.NumberNotInService]
		s.respond(tx, newReply(req, f.status, f.phrase(), sip.NewHeader("Reason", f.reason())))
		return
	}
	body, err := sdpBody(req)
	if err != nil {
		s.m.end(noMedia)
		s.respond(tx, newReply(req, 415, "Unsupported Media Type",
			sip.NewHeader("Accept", "application/sdp"), sip.NewHeader("Accept-Encoding", "identity")))
		return
	}
	c := &call{
		s: s, invite: req, tx: tx, target: t, clip: clip, id: id,
		ack: make(chan *sip.Request, 1), ended: make(chan struct{}),
	}
	if refusedAs, ok := s.admit(c); !ok {
		s.m.end(refusedAs)
		s.respond(tx, newReply(req, 503, "Service Unavailable", s.retryAfter()))
		return
	}
	defer s.leave(c)
	if t.mode == Answer {
		c.answer(body)
	} else {
		c.early(body)
	}
	c.report()
}

// admit counts a call against the limit and makes it known to ACK and BYE.
func (s *Server) admit(c *call) (result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return stopped, false
	case s.active >= s.set.MaxConcurrent:
		return overLimit, false
	}
	s.dialogs[c.id] = c
	s.active++
	s.calls.Add(1)
	s.m.active.Inc()
	return "", true
}

func (s *Server) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	if s.dialogs[c.id] == c {
		delete(s.dialogs, c.id)
	}
	s.m.active.Dec()
	s.calls.Done()
}

// report counts and logs how the call ended.
func (c *call) report() {
	r, packets := c.outcome(), 0
	var err error
	if c.stream != nil {
		packets, err = c.stream.outcome()
	}
	c.s.m.end(r)
	c.s.log.Debug("announcement ended", keyResult, string(r), keyPrompt, string(c.target.prompt), keyLang, c.clip.Language,
		keyPackets, packets, keyPeer, c.invite.Source(), keyCallID, c.id.callID, keyError, err)
}

// early plays before the answer.
func (c *call) early(body []byte) {
	desc, err := parseDescription(body)
	if err != nil {
		c.withoutMedia(noMedia, err)
		return
	}
	stream, local, err := c.s.openStream(desc.remote.Addr(), c.invite)
	if err != nil {
		c.withoutMedia(mediaResult(err), err)
		return
	}
	defer stream.stop()
	sdp, err := desc.answer(local)
	if err != nil {
		c.withoutMedia(noMedia, err)
		return
	}
	if c.attach(stream) && c.watchCancel() {
		progress := newReply(c.invite, 183, "Session Progress", c.s.contact(c.invite), sip.NewHeader("Allow", allowed))
		if c.s.respond(c.tx, withSDP(progress, sdp)) {
			c.play(stream, desc)
		} else {
			c.end(failed)
		}
	}
	c.conclude()
}

// watchCancel lets a CANCEL end the call. It reports false when one has come
// already.
func (c *call) watchCancel() bool {
	if c.tx.OnCancel(func(*sip.Request) { c.end(cancelled) }) {
		return true
	}
	c.end(cancelled)
	return false
}

// conclude gives the final reply of a call that was not answered.
func (c *call) conclude() {
	switch c.outcome() {
	case cancelled, failed: // the library sends the 487; a broken transaction sends nothing
	case hungUp:
		c.s.respond(c.tx, newReply(c.invite, 487, "Request Terminated"))
	default:
		f := c.target.final
		c.s.respond(c.tx, newReply(c.invite, f.status, f.phrase(), sip.NewHeader("Reason", f.reason())))
	}
}

// withoutMedia ends a call whose caller cannot hear the prompt.
func (c *call) withoutMedia(r result, err error) {
	c.s.log.Debug("announcement without media", keyError, err, keyPeer, c.invite.Source(), keyCallID, c.id.callID)
	c.end(r)
	c.conclude()
}

// play returns when the call has ended, one way or another.
func (c *call) play(stream *stream, desc *description) {
	stream.play(c.clip.Bytes(desc.codec.encoding), desc)
	c.s.pacer.add(stream)
	select {
	case <-stream.done:
		if _, err := stream.outcome(); err != nil {
			c.end(sendFailed)
		}
		c.end(played)
	case <-c.ended:
	case <-c.s.hurry:
		c.end(stopped)
	}
}

// answer accepts the call, plays, and hangs up.
func (c *call) answer(body []byte) {
	var desc *description
	var err error
	if len(body) > 0 {
		if desc, err = parseDescription(body); err != nil {
			c.withoutMedia(noMedia, err)
			return
		}
	}
	var remote netip.Addr // of a delayed offer: not known yet
	if desc != nil {
		remote = desc.remote.Addr()
	}
	stream, local, err := c.s.openStream(remote, c.invite)
	if err != nil {
		c.withoutMedia(mediaResult(err), err)
		return
	}
	defer stream.stop()
	var sdp []byte
	if desc != nil {
		sdp, err = desc.answer(local)
	} else {
		sdp, err = offer(local)
	}
	if err != nil {
		c.withoutMedia(noMedia, err)
		return
	}
	if !c.attach(stream) || !c.watchCancel() {
		c.conclude()
		return
	}
	ack := c.accept(sdp)
	if ack == nil {
		return
	}
	if desc == nil {
		if desc, err = c.answerToOffer(ack); err != nil {
			c.s.log.Debug("answer to a delayed offer", keyError, err, keyCallID, c.id.callID)
			c.end(noMedia)
			c.bye()
			return
		}
	}
	c.play(stream, desc)
	if c.outcome() != hungUp {
		c.bye()
	}
}

// answerToOffer is what the ACK says to the offer of the 200.
func (c *call) answerToOffer(ack *sip.Request) (*description, error) {
	body, err := sdpBody(ack)
	if err != nil {
		return nil, err
	}
	return parseDescription(body)
}

// accept sends the 200 until its ACK comes (RFC 3261, 13.3.1.4). It returns nil
// when the call ended instead.
func (c *call) accept(sdp []byte) *sip.Request {
	ok := withSDP(newReply(c.invite, 200, "OK", c.s.contact(c.invite), sip.NewHeader("Allow", allowed)), sdp)
	if !c.s.respond(c.tx, ok) {
		c.end(failed)
		return nil
	}
	interval := sip.T1
	resend := time.NewTimer(interval)
	defer resend.Stop()
	giveUp := time.NewTimer(c.s.set.AckTimeout)
	defer giveUp.Stop()
	for {
		select {
		case ack := <-c.ack:
			return ack
		case <-c.ended: // BYE without ACK
			return nil
		case <-resend.C:
			if c.tx.Respond(ok) != nil { // not counted again
				c.end(failed)
				return nil
			}
			interval = min(2*interval, sip.T2)
			resend.Reset(interval)
		case <-giveUp.C:
			c.end(noAck)
			c.bye()
			return nil
		case <-c.s.hurry:
			c.end(stopped)
			c.bye()
			return nil
		}
	}
}

// byeTimeout bounds the wait for the reply to a BYE, and hurriedBye does in a
// stop; the caller hears nothing in any case.
const (
	byeTimeout = 5 * time.Second
	hurriedBye = time.Second
)

// bye hangs up.
func (c *call) bye() {
	c.mu.Lock()
	c.stream.stop()
	c.mu.Unlock()
	uri, routes, hop := c.s.route(c.invite)
	req := sip.NewRequest(sip.BYE, uri)
	to := c.invite.To()
	req.AppendHeader(&sip.FromHeader{DisplayName: to.DisplayName, Address: to.Address, Params: to.Params.Clone()})
	from := c.invite.From()
	req.AppendHeader(&sip.ToHeader{DisplayName: from.DisplayName, Address: from.Address, Params: from.Params.Clone()})
	callID := sip.CallIDHeader(c.id.callID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.BYE})
	for _, r := range routes {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
	req.AppendHeader(sip.NewHeader("Reason", c.target.final.reason()))
	host, port := c.s.reachable(c.invite)
	via := &sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: host, Port: port}
	via.Params.Add("branch", sip.GenerateBranchN(16))
	via.Params.Add("rport", "")
	req.PrependHeader(via)
	req.SetTransport("UDP")
	req.SetDestination(hop)
	// From the listening socket: a new one would be a stranger to the switch,
	// and its firewall.
	req.Laddr = sip.Addr{IP: c.s.addr.Addr().AsSlice(), Port: int(c.s.addr.Port())}

	timeout := byeTimeout
	select {
	case <-c.s.hurry:
		timeout = hurriedBye
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// Requests are built here; the option keeps the library from adding.
	res, err := c.s.client.Do(ctx, req, func(_ *sipgo.Client, r *sip.Request) error {
		maxForwards := sip.MaxForwardsHeader(70)
		r.AppendHeader(&maxForwards)
		r.SetBody(nil)
		return nil
	})
	if err != nil {
		c.s.log.Debug("no reply to BYE", keyError, err, keyPeer, hop, keyCallID, c.id.callID)
		return
	}
	c.s.log.Debug("BYE answered", keyStatus, res.StatusCode, keyPeer, hop, keyCallID, c.id.callID)
}
