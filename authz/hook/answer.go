package hook

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// insufficientOutbound is the body of the customer's document, byte for byte.
const insufficientOutbound = `{
  "error": {
    "code": "` + string(authz.CodeInsufficientCredits) + `",
    "message": "` + authz.InsufficientOutbound + `"
  }
}`

// stampFormat is RFC 3339 in UTC with milliseconds.
const stampFormat = "2006-01-02T15:04:05.000Z"

// The answers' bodies. Their fields' order is part of the contract.
type (
	errorBody struct {
		Code    authz.Code `json:"code"`
		Message string     `json:"message"`
		Param   string     `json:"param,omitempty"`
	}
	envelope struct {
		Error errorBody `json:"error"`
	}
	denialBody struct {
		Error  errorBody  `json:"error"`
		Call   callBody   `json:"call"`
		Audio  audioBody  `json:"audio"`
		Hangup hangupBody `json:"hangup"`
	}
	callBody struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	audioBody struct {
		Prompt   string `json:"prompt"`
		Language string `json:"language"`
		URL      string `json:"url"`
		SIPURI   string `json:"sip_uri,omitempty"`
	}
	hangupBody struct {
		SIP  int `json:"sip"`
		Q850 int `json:"q850"`
	}
	allowBody struct {
		Decision     string `json:"decision"`
		CallID       string `json:"call_id"`
		UID          string `json:"call_uid,omitempty"`
		Account      string `json:"account,omitempty"`
		NumberID     string `json:"number_id,omitempty"`
		MaxSeconds   int64  `json:"max_seconds"`
		SliceSeconds int64  `json:"slice_seconds"`
		ExpiresAt    string `json:"expires_at,omitempty"`
		OnFailure    string `json:"on_failure"`
		Policy       string `json:"policy,omitempty"`
	}
	reportBody struct {
		CallID      string `json:"call_id"`
		UID         string `json:"call_uid,omitempty"`
		Status      string `json:"status"`
		DurationSec *int64 `json:"duration_sec,omitempty"`
		CostUnits   *int64 `json:"cost_units,omitempty"`
		CostMicros  *int64 `json:"cost_micros,omitempty"`
		ExtraUnits  int64  `json:"extra_units,omitempty"`
		Duplicate   bool   `json:"duplicate,omitempty"`
	}
	heartbeatBody struct {
		Action    string `json:"action"`
		Remaining int64  `json:"remaining_seconds"`
	}
)

// What a heartbeat, and a decision that leaves it open, say.
const (
	actionContinue   = "continue"
	onFailureDefault = "continue"
	statusRejected   = "rejected"
	statusKept       = "kept"
	policyEmergency  = "emergency"
)

func newAllow(req *authz.Request, d *authz.Decision) *allowBody {
	a := &allowBody{
		Decision: "allow", CallID: req.CallID, UID: uidText(d.UID), Account: d.Account, NumberID: d.NumberID,
		MaxSeconds: d.MaxSeconds, SliceSeconds: d.SliceSeconds, OnFailure: d.OnFailure, Policy: d.Policy,
	}
	if d.ExpiresAt != 0 {
		a.ExpiresAt = time.UnixMilli(d.ExpiresAt).UTC().Format(stampFormat)
	}
	if a.OnFailure == "" {
		a.OnFailure = onFailureDefault
	}
	return a
}

// allow answers that a call may go.
func (x *exchange) allow(req *authz.Request, d *authz.Decision) {
	var plain bool
	if x.out, plain = appendAllow(x.out[:0], req, d); !plain {
		x.reply(newAllow(req, d))
		return
	}
	x.write(x.out)
}

// appendAllow writes what encode makes of newAllow, without reflection. It
// reports false where a text would have to be escaped.
func appendAllow(b []byte, req *authz.Request, d *authz.Decision) (_ []byte, plain bool) {
	onFailure := d.OnFailure
	if onFailure == "" {
		onFailure = onFailureDefault
	}
	for _, s := range [...]string{req.CallID, d.Account, d.NumberID, onFailure, d.Policy} {
		if !isPlain(s) {
			return b, false
		}
	}
	text := func(name, s string) { b = append(append(append(append(b, name...), `:"`...), s...), '"') }
	some := func(name, s string) {
		if s != "" {
			text(name, s)
		}
	}
	text(`{"decision":"allow","call_id"`, req.CallID)
	if d.UID != uuid.Nil {
		b = appendUUID(append(b, `,"call_uid":"`...), d.UID)
		b = append(b, '"')
	}
	some(`,"account"`, d.Account)
	some(`,"number_id"`, d.NumberID)
	b = strconv.AppendInt(append(b, `,"max_seconds":`...), d.MaxSeconds, 10)
	b = strconv.AppendInt(append(b, `,"slice_seconds":`...), d.SliceSeconds, 10)
	if d.ExpiresAt != 0 {
		b = append(appendStamp(append(b, `,"expires_at":"`...), d.ExpiresAt), '"')
	}
	text(`,"on_failure"`, onFailure)
	some(`,"policy"`, d.Policy)
	return append(b, '}'), true
}

// appendStamp writes Unix milliseconds in stampFormat. The layout without them
// is one that package time has a short way for.
func appendStamp(b []byte, ms int64) []byte {
	t := time.UnixMilli(ms).UTC()
	b = t.AppendFormat(b, time.RFC3339)
	n := t.Nanosecond() / int(time.Millisecond)
	return append(b[:len(b)-1], '.', '0'+byte(n/100), '0'+byte(n/10%10), '0'+byte(n%10), 'Z')
}

// isPlain tells whether a text stands in JSON as it is.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendUUID writes what uuid.UUID.String gives.
func appendUUID(b []byte, u uuid.UUID) []byte {
	for i, part := range [...][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

func newReport(ev *authz.Event, r *authz.EventResult) *reportBody {
	set := &r.Settlement
	state := r.State
	if state == authz.StateNone {
		state = set.State
	}
	b := &reportBody{CallID: ev.CallID, UID: uidText(set.UID), Status: state.String(), Duplicate: set.Duplicate}
	if state == authz.StateSettled || state == authz.StateLost {
		seconds, units, micros := tariff.Seconds(set.TalkMS), int64(set.Units), int64(set.Micros)
		b.DurationSec, b.CostUnits, b.CostMicros, b.ExtraUnits = &seconds, &units, &micros, int64(set.ExtraUnits)
	}
	return b
}

func uidText(u uuid.UUID) string {
	if u == uuid.Nil {
		return ""
	}
	return u.String()
}

// refuse answers a denied call. An inbound caller is told why by a prompt,
// except where the request itself was wrong.
func (x *exchange) refuse(req *authz.Request, d *authz.Decision) {
	code := d.Code
	if code == "" {
		code = authz.CodeBalanceUnavailable
	}
	refusal := code.Refusal()
	e := errorBody{Code: code, Message: d.Message, Param: d.Param}
	if e.Message == "" {
		e.Message = refusal.Message
	}
	x.status, x.code = refusal.HTTP, code
	switch {
	case req.Direction == authz.Outbound && code == authz.CodeInsufficientCredits:
		x.write([]byte(insufficientOutbound))
	case req.Direction != authz.Inbound || refusal.HTTP == http.StatusBadRequest:
		x.reply(&envelope{e})
	default:
		x.reply(&denialBody{
			Error:  e,
			Call:   callBody{ID: req.CallID, Status: statusRejected},
			Audio:  x.s.prompt(x.r, refusal.Prompt, d.Account, d.Language),
			Hangup: hangupBody{SIP: refusal.SIP, Q850: refusal.Q850},
		})
	}
}

// prompt says where the switch finds a prompt.
func (s *Server) prompt(r *http.Request, name, account, language string) audioBody {
	if language == "" {
		language = s.cfg.Language
	}
	own := false
	if s.cfg.Recording != nil {
		language, own = s.cfg.Recording(name, account, language)
	}
	base := s.cfg.AudioURL
	if base == "" {
		base = s.ownURL(r)
	}
	a := audioBody{Prompt: name, Language: language,
		URL: base + "/v1/audio/" + url.PathEscape(name) + "." + url.PathEscape(language) + ".wav"}
	if s.cfg.Announcer != "" {
		a.SIPURI = "sip:" + url.PathEscape(name) + "@" + s.cfg.Announcer + ";lang=" + url.PathEscape(language)
	}
	if own {
		a.URL += "?account=" + url.QueryEscape(account)
		if a.SIPURI != "" {
			a.SIPURI += ";account=" + url.PathEscape(account)
		}
	}
	return a
}

// ownURL is the server's address as the client knows it. Over a unix socket, and
// from a client that names no host, it is the TCP listener's.
func (s *Server) ownURL(r *http.Request) string {
	scheme, host := "http://", r.Host
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	unix := local != nil && local.Network() == "unix"
	if host == "" || unix {
		host = s.cfg.Listen
		if addr := s.Addr(); addr != nil {
			host = addr.String()
		}
	}
	if r.TLS != nil || (unix && s.tls != nil) {
		scheme = "https://"
	}
	return scheme + host
}

// encoder is reused between answers.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := new(encoder)
	e.enc = json.NewEncoder(&e.buf)
	// A call id with < or & stays as its switch knows it.
	e.enc.SetEscapeHTML(false)
	return e
}}

// encode gives the JSON of an answer to use; the bytes are valid during it only.
func encode(v any, use func([]byte)) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.buf.Reset()
	// The bodies above hold nothing that JSON has no form for.
	_ = e.enc.Encode(v)
	use(bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")))
}

// contentType is shared by all answers, which net/http allows and which saves
// its allocation.
var contentType = []string{"application/json"}

// contentLengths are the header's values for the usual answers, for the same reason.
var contentLengths = func() (all [1024][]string) {
	for n := range all {
		all[n] = []string{strconv.Itoa(n)}
	}
	return all
}()

func contentLength(n int) []string {
	if n < len(contentLengths) {
		return contentLengths[n]
	}
	return []string{strconv.Itoa(n)}
}

// reply writes an answer with the exchange's status.
func (x *exchange) reply(body any) { encode(body, x.write) }

// write sends an answer whole, so that a connection that is gone shows as an
// error here.
func (x *exchange) write(body []byte) {
	h := x.w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = contentLength(len(body))
	x.w.WriteHeader(x.status)
	_, err := x.w.Write(body)
	if err == nil {
		err = http.NewResponseController(x.w).Flush()
	}
	x.failed = err
}
