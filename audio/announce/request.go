package announce

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// allowed are the methods of the Allow header.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS"

// singular are the headers that RFC 3261 wants exactly once, with their compact
// forms.
var singular = [...][2]string{{"From", "f"}, {"To", "t"}, {"Call-ID", "i"}, {"CSeq", ""}}

// atMostOnce are headers of which a second one would make the message mean two
// things.
var atMostOnce = [...][2]string{{"Max-Forwards", ""}, {"Content-Length", "l"}, {"Content-Type", "c"}}

// inspect checks a request before its method is looked at (RFC 3261, 8.2). It
// returns the reply to refuse it with, nil if it is sound.
func inspect(req *sip.Request) *sip.Response {
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return newReply(req, 505, "Version Not Supported")
	}
	for _, h := range singular {
		if countHeaders(req, h[0], h[1]) != 1 {
			return newReply(req, 400, "Bad Request ("+h[0]+")")
		}
	}
	for _, h := range atMostOnce {
		if countHeaders(req, h[0], h[1]) > 1 {
			return newReply(req, 400, "Bad Request ("+h[0]+")")
		}
	}
	// The accessors parse on demand: a header that is there may still be nil.
	if req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil {
		return newReply(req, 400, "Bad Request")
	}
	// The library turns the method of the request line to upper case.
	if !strings.EqualFold(strings.TrimSpace(string(req.CSeq().MethodName)), string(req.Method)) {
		return newReply(req, 400, "Bad Request (CSeq method)")
	}
	return nil
}

// inspectTarget checks the rest, for methods this server knows.
func inspectTarget(req *sip.Request) *sip.Response {
	if s := req.Recipient.Scheme; s != "sip" && s != "sips" {
		return newReply(req, 416, "Unsupported URI Scheme")
	}
	// No extension is supported, 100rel among them: whatever is required is
	// too much (RFC 3261, 8.2.2.3).
	var required []string
	for _, h := range req.GetHeaders("Require") {
		for tag := range strings.SplitSeq(h.Value(), ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				required = append(required, tag)
			}
		}
	}
	if len(required) > 0 {
		return newReply(req, 420, "Bad Extension", sip.NewHeader("Unsupported", strings.Join(required, ", ")))
	}
	return nil
}

func countHeaders(req *sip.Request, name, compact string) int {
	n := len(req.GetHeaders(name))
	if compact != "" {
		n += len(req.GetHeaders(compact))
	}
	return n
}

// headerValue is the value of a header under its long or compact name.
func headerValue(req *sip.Request, name, compact string) string {
	for _, n := range []string{name, compact} {
		if h := req.GetHeader(n); h != nil {
			return h.Value()
		}
	}
	return ""
}

// newReply makes a response without a body.
func newReply(req *sip.Request, status int, phrase string, headers ...sip.Header) *sip.Response {
	res := sip.NewResponseFromRequest(req, status, phrase, nil)
	// The library echoes the request's version: "SIP/7.0" must not come back.
	res.SipVersion = "SIP/2.0"
	res.AppendHeader(sip.NewHeader("Server", "ringfence"))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return res
}

// withSDP gives a response a session description as its body.
func withSDP(res *sip.Response, body []byte) *sip.Response {
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody(body)
	return res
}

// tag is the To tag of a request's replies. It is derived from the request, so
// that 183, 487 and the 200 to CANCEL bear the same one, as RFC 3261, 9.2 asks,
// although the library makes the latter two. The branch keeps apart the
// branches of a forked call.
func (s *Server) tag(req *sip.Request) string {
	mac := hmac.New(sha256.New, s.secret[:])
	part := func(v string) { mac.Write([]byte(v)); mac.Write([]byte{0}) }
	if h := req.CallID(); h != nil {
		part(h.Value())
	}
	if h := req.From(); h != nil {
		part(h.Params.GetOr("tag", ""))
	}
	if h := req.Via(); h != nil {
		part(h.Params.GetOr("branch", ""))
	}
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// onMessage sees each message in the reading goroutine, before the library's
// transactions do: the one place where a request can be changed without a race.
func (s *Server) onMessage(msg sip.Message) {
	s.conn.parsed(msg.Source())
	req, ok := msg.(*sip.Request)
	if !ok {
		return
	}
	if to := req.To(); to != nil && !to.Params.Has("tag") {
		to.Params.Add("tag", s.tag(req))
	}
}

// dialogID identifies a dialog (RFC 3261, 12): the Call-ID and both tags.
type dialogID struct{ callID, local, remote string }

// dialogOf is the dialog a request belongs to, or would make.
func dialogOf(req *sip.Request) dialogID {
	return dialogID{
		callID: req.CallID().Value(),
		local:  req.To().Params.GetOr("tag", ""),
		remote: req.From().Params.GetOr("tag", ""),
	}
}
