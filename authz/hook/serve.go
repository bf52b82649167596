package hook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Log keys.
const (
	keyCallID    = "call_id"
	keySwitch    = "switch"
	keyDirection = "direction"
	keyFrom      = "from"
	keyTo        = "to"
	keyCode      = "code"
	keyEvent     = "event"
	keyError     = "error"
)

// emergencyGrace is what an emergency decision may take beyond the deadline,
// so that an Authorizer which ends exactly with it is still heard.
const emergencyGrace = 50 * time.Millisecond

// exchange is one request and its answer.
type exchange struct {
	s       *Server
	ep      *endpoint
	w       http.ResponseWriter
	r       *http.Request
	trusted bool   // brought the token, where one is wanted
	body    []byte // the request's, while the exchange lasts
	reader  bytes.Reader
	in      authorizeBody
	from    string // what in.From points to
	out     []byte // the answer, while the exchange lasts

	status int
	code   authz.Code // empty unless refused
	failed error      // of writing the answer
}

var exchanges = sync.Pool{New: func() any { return &exchange{body: make([]byte, 0, 2<<10), out: make([]byte, 0, 512)} }}

// keptBody is the largest body buffer that is reused: one rare large request
// does not make every buffer large.
const keptBody = 8 << 10

// Handler answers /v1/authorize, /v1/quote, /v1/events and /v1/audio/. It is
// what Start serves.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	s.working.Add(1)
	defer s.working.Add(-1)
	s.m.inFlight.Inc()
	defer s.m.inFlight.Dec()

	ep := &s.other
	switch r.URL.Path {
	case "/v1/authorize":
		ep = &s.authorize
	case "/v1/quote":
		ep = &s.quote
	case "/v1/events":
		ep = &s.event
	default:
		if s.audio != nil && strings.HasPrefix(r.URL.Path, "/v1/audio/") {
			// Prompts are no secret, and players of URLs cannot bring a token.
			s.audio.ServeHTTP(w, r)
			return
		}
	}
	x := exchanges.Get().(*exchange)
	x.s, x.ep, x.w, x.r, x.trusted = s, ep, w, r, s.trusts(r)
	x.run()
	if x.failed != nil {
		s.m.gone.Inc()
	}
	if x.status == http.StatusOK {
		ep.ok.Inc()
	} else {
		s.m.requests.WithLabelValues(ep.name, strconv.Itoa(x.status), string(x.code)).Inc()
	}
	ep.seconds.Observe(time.Since(start).Seconds())
	if cap(x.body) <= keptBody {
		*x = exchange{body: x.body[:0], out: x.out[:0]}
		exchanges.Put(x)
	}
}

func (x *exchange) run() {
	if x.ep != &x.s.other {
		if x.r.Method != http.MethodPost {
			x.w.Header().Set("Allow", http.MethodPost)
			x.answer(http.StatusMethodNotAllowed, errorBody{Code: codeMethod, Message: "Use POST."})
			return
		}
		if !strings.HasPrefix(x.r.Header.Get("Content-Type"), contentType[0]) {
			x.s.m.contentTypes.Inc()
		}
	}
	x.ep.handle(x)
}

func (x *exchange) notFound() {
	x.answer(http.StatusNotFound, errorBody{Code: codeNotFound, Message: "There is no such hook."})
}

// trusts tells whether a request brings the token. Hashes are compared, so that
// neither the token nor its length shows in the time it takes.
func (s *Server) trusts(r *http.Request) bool {
	if s.cfg.Token == "" {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

func (x *exchange) authorize() { x.ask(reserve) }
func (x *exchange) quote()     { x.ask(inquire) }

// question is what is asked of the Authorizer.
type question bool

const (
	reserve question = true  // Authorize
	inquire question = false // Quote
)

// ask answers an authorize or a quote: emergency numbers first, before the
// token, the form, the load or anybody's status is looked at.
func (x *exchange) ask(q question) {
	s := x.s
	if p := x.read(); p != nil {
		x.problem(p)
		return
	}
	in := &x.in
	var d decoded
	if !in.plain(x.body, &x.from) {
		*in = authorizeBody{}
		var p *problem
		if d, p = decode(x.body, &x.reader, in, authorizeNames); p != nil {
			x.problem(p)
			return
		}
	}
	dialled := in.To
	if dialled == "" && d.wrong != nil {
		dialled = dialledNumber(x.body)
	}
	if dialled != "" && s.auth.Emergency(dialled) {
		x.emergency(in.emergency(dialled), q)
		return
	}
	if !x.wellFormed(d) {
		return
	}
	req, p := in.request(s.cfg.Now().UnixMilli())
	if p != nil {
		x.problem(p)
		return
	}
	if reason, why := s.admit(); reason != "" {
		s.m.shed.WithLabelValues(x.ep.name, reason).Inc()
		x.refuse(req, &authz.Decision{Code: authz.CodeBalanceUnavailable, Message: why})
		return
	}
	defer s.deciding.Add(-1)
	// The client's going does not end the work: a half-done reservation would
	// leave its outcome unknown, and so the hold behind.
	x.decided(req, s.protect(s.deadlines.From(time.Now()), req, q), q)
}

// admit lets a request in to be decided, or says why not.
func (s *Server) admit() (reason, message string) {
	if s.draining.Load() {
		return "draining", "This sidecar is shutting down."
	}
	if s.deciding.Add(1) > int64(s.cfg.MaxConcurrent) {
		s.deciding.Add(-1)
		return "overloaded", "This sidecar is overloaded."
	}
	return "", ""
}

// decided tells the client, and gives the hold back where there is nobody to tell.
func (x *exchange) decided(req *authz.Request, d authz.Decision, q question) {
	s := x.s
	if !d.Allowed {
		s.log.Debug("call denied", keyCallID, req.CallID, keySwitch, req.Switch, keyDirection, req.Direction,
			keyFrom, masked(req.From), keyTo, masked(req.To), keyCode, d.Code)
		x.refuse(req, &d)
		return
	}
	if err := x.r.Context().Err(); err != nil {
		// The connection may be closed in one direction only: whoever still reads
		// must not be told to let the call go.
		x.refuse(req, &authz.Decision{Code: authz.CodeBalanceUnavailable, Message: "The client has left."})
		x.failed = err
	} else {
		x.status = http.StatusOK
		x.allow(req, &d)
	}
	if x.failed != nil && q == reserve {
		s.log.Info("the switch left before its answer; the hold is given back",
			keyCallID, req.CallID, keySwitch, req.Switch, keyError, x.failed)
		s.auth.Gone(req, d)
	}
}

// emergency lets a call go. The Authorizer is asked so that the call can be
// recorded, but neither its refusal, nor its panic, nor its silence stops it.
// From a client without the token nothing is recorded.
func (x *exchange) emergency(req *authz.Request, q question) {
	s := x.s
	s.m.emergencies.Inc()
	var d authz.Decision
	if x.trusted {
		d = s.askEmergency(req, q)
		if !d.Allowed {
			s.log.Warn("an emergency call was not confirmed by the authorizer; it goes all the same",
				keyCallID, req.CallID, keySwitch, req.Switch, keyCode, d.Code)
		}
	} else {
		s.log.Warn("an emergency call came without the hook token; it goes, unrecorded", "remote", x.r.RemoteAddr)
	}
	if !d.Allowed {
		d = authz.Decision{MaxSeconds: tariff.Unlimited, SliceSeconds: tariff.Unlimited, Policy: policyEmergency}
	}
	x.status = http.StatusOK
	x.allow(req, &d)
}

func (s *Server) askEmergency(req *authz.Request, q question) authz.Decision {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Deadline)
	defer cancel()
	answer := make(chan authz.Decision, 1)
	s.working.Add(1)
	go func() {
		defer s.working.Add(-1)
		answer <- s.protect(ctx, req, q)
	}()
	patience := time.NewTimer(s.cfg.Deadline + emergencyGrace)
	defer patience.Stop()
	select {
	case d := <-answer:
		return d
	case <-patience.C:
		return authz.Decision{Code: authz.CodeBalanceUnavailable}
	}
}

// protect keeps a panic in a decision from ending the request without an answer.
func (s *Server) protect(ctx context.Context, req *authz.Request, q question) (d authz.Decision) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
			d = authz.Decision{Code: authz.CodeBalanceUnavailable}
		}
	}()
	if q == reserve {
		return s.auth.Authorize(ctx, req)
	}
	return s.auth.Quote(ctx, req)
}

func (s *Server) panicked(v any) {
	s.m.panics.Inc()
	s.log.Error("panic in a hook", "panic", v, "stack", string(debug.Stack()))
}

// event answers a report of a call. It is never shed.
func (x *exchange) event() {
	s := x.s
	if !x.trusted {
		x.unauthorized()
		return
	}
	if p := x.read(); p != nil {
		x.problem(p)
		return
	}
	var in eventBody
	var d decoded
	if !in.plain(x.body) {
		in = eventBody{}
		var p *problem
		if d, p = decode(x.body, &x.reader, &in, eventNames); p != nil {
			x.problem(p)
			return
		}
	}
	if !x.wellFormed(d) {
		return
	}
	ev, p := in.event(s.cfg.Now().UnixMilli(), max(s.cfg.ExtraCostMax, 0))
	if p != nil {
		x.problem(p)
		return
	}
	result, err := s.protectEvent(s.deadlines.From(time.Now()), ev)
	x.reported(&ev, &result, err)
}

func (s *Server) protectEvent(ctx context.Context, ev authz.Event) (result authz.EventResult, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
			err = errPanic
		}
	}()
	return s.events.Event(ctx, ev)
}

// errPanic stands for a panic that was logged where it was caught.
var errPanic = errors.New("panic")

func (x *exchange) reported(ev *authz.Event, r *authz.EventResult, err error) {
	switch {
	case errors.Is(err, authz.ErrNotAnswered):
		x.answer(http.StatusBadRequest, errorBody{Code: authz.CodeMissingField, Param: "answered_at",
			Message: "answered_at is missing, and no answer of this call is recorded; send it, or null where the call was never answered."})
	case errors.Is(err, authz.ErrExtraCurrency):
		x.answer(http.StatusBadRequest, errorBody{Code: authz.CodeInvalidRequest, Param: "extra_cost.currency",
			Message: "extra_cost.currency is not the account's currency."})
	case errors.Is(err, authz.ErrCallConflict):
		x.answer(http.StatusConflict, errorBody{Code: authz.CodeCallConflict, Message: authz.CodeCallConflict.Refusal().Message})
	case err != nil:
		if err != errPanic {
			x.s.log.Error("event could not be worked", keyEvent, ev.Type, keyCallID, ev.CallID, keySwitch, ev.Switch, keyError, err)
		}
		x.answer(http.StatusServiceUnavailable, errorBody{Code: authz.CodeBalanceUnavailable,
			Message: "The event could not be worked right now; send it again."})
	case ev.Type == authz.EventHeartbeat:
		// One that is kept is answered too: a switch obeys the action it gets.
		action := r.Action
		if action == "" {
			action = actionContinue
		}
		x.status = http.StatusOK
		x.reply(&heartbeatBody{Action: action, Remaining: r.Remaining})
	case r.Kept:
		x.status = http.StatusAccepted
		x.reply(&reportBody{CallID: ev.CallID, Status: statusKept})
	default:
		x.status = http.StatusOK
		x.reply(newReport(ev, r))
	}
}

// wellFormed reports whether a decoded body may be looked at further; if not,
// it is answered.
func (x *exchange) wellFormed(d decoded) bool {
	if !x.trusted {
		x.unauthorized()
		return false
	}
	if len(d.unknown) > 0 {
		x.s.sawUnknown(x.ep.name, d.unknown)
	}
	if d.wrong != nil {
		x.problem(d.wrong)
		return false
	}
	return true
}

// read takes the request's body in.
func (x *exchange) read() *problem {
	if x.r.ContentLength > int64(x.s.cfg.MaxBody) {
		return tooLarge
	}
	for {
		if len(x.body) == cap(x.body) {
			x.body = append(x.body, 0)[:len(x.body)]
		}
		n, err := x.r.Body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case len(x.body) > x.s.cfg.MaxBody:
			return tooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return invalid(reasonBody, "", "The body ended before it was complete.")
		}
	}
}

func (x *exchange) problem(p *problem) {
	if !x.trusted {
		x.unauthorized()
		return
	}
	x.s.m.decodeErrors.WithLabelValues(x.ep.name, p.reason).Inc()
	x.answer(p.status, errorBody{Code: p.code, Message: p.message, Param: p.param})
}

func (x *exchange) unauthorized() {
	x.w.Header().Set("WWW-Authenticate", "Bearer")
	x.answer(http.StatusUnauthorized, errorBody{Code: codeUnauthorized, Message: "The hook token is missing or wrong."})
}

func (x *exchange) answer(status int, e errorBody) {
	x.status, x.code = status, e.Code
	x.reply(&envelope{e})
}

// masked hides a number's end if it comes to be logged.
type masked string

// LogValue is what a log shows.
func (m masked) LogValue() slog.Value { return slog.StringValue(authz.Mask(string(m))) }
