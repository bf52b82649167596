package hook

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

// Authorizer decides calls. Its methods are called concurrently, must return
// soon after their context is done, and may keep the request they are given.
type Authorizer interface {
	// Emergency reports whether the raw dialled digits are exactly an emergency
	// number. It looks nothing up.
	Emergency(dialled string) bool

	// Authorize decides a call and reserves credit for it. It reports every
	// failure as a Decision, never as an empty one.
	//
	// For an emergency number the request may lack its call id (empty), and its
	// direction, where it was missing or wrong, is Outbound; the call is let go
	// whatever the decision says, so that Authorize merely records it. Gone is not
	// said of it: the switch may let it pass without an answer.
	Authorize(context.Context, *authz.Request) authz.Decision

	// Quote says what Authorize would, and reserves and records nothing.
	Quote(context.Context, *authz.Request) authz.Decision

	// Gone says that the switch left before it could read this allowed decision:
	// the call will not go, and its hold is to be given back. The switch may ask
	// again under the same id, even at this moment on another connection, so
	// giving back must yield to an authorize that came later. Gone must not
	// block: a request's goroutine calls it.
	Gone(*authz.Request, authz.Decision)
}

// Events works what switches report of their calls. Event is called
// concurrently and must return soon after its context is done; what it cannot
// work by then it keeps, and says so in the result.
//
// The event's Direction is zero and its Switch "default" where the switch did
// not give them. Of an ended event EndedAt and At, and of an answered event
// AnsweredAt and At, stand in for each other where only one was given.
//
// These errors are the switch's own doing and are answered as such:
// authz.ErrNotAnswered, authz.ErrCallConflict, authz.ErrExtraCurrency. Any other
// is answered 503, so that the switch sends the event again.
type Events interface {
	Event(context.Context, authz.Event) (authz.EventResult, error)
}

// The defaults of Config.
const (
	DefaultListen        = "127.0.0.1:8402"
	DefaultDeadline      = 250 * time.Millisecond
	DefaultMaxBody       = 64 << 10
	DefaultMaxConcurrent = 1024
	DefaultExtraCostMax  = 100_000_000
	DefaultIdleTimeout   = 2 * time.Minute
	DefaultLanguage      = "en"
)

// Config says how switches reach the server and how it answers them. The zero
// value of every field is its default.
type Config struct {
	Listen string // host:port for TCP; DefaultListen
	Socket string // path of a unix socket beside it; empty: none
	NoTCP  bool   // the socket only

	Token    string // bearer token that every hook must bring; empty: none
	TLSCert  string // PEM file with the server's certificate chain; empty: no TLS
	TLSKey   string // PEM file with its key
	ClientCA string // PEM file; clients must bring a certificate of one of these (TCP only)

	AudioURL  string // base URL of the prompts; empty: the request's own http://host
	Announcer string // host:port of the SIP announcer; empty: denials carry no sip_uri
	Language  string // of prompts, where the account has none; DefaultLanguage
	// Recording tells which recording of a prompt the callers of an account hear: its language, and whether it is the
	// account's own, which url and sip_uri then say. nil: the language asked for, nobody's own.
	Recording func(prompt, account, language string) (chosen string, own bool)

	MaxBody       int           // bytes of one request's body; DefaultMaxBody
	Deadline      time.Duration // for the decision on one request; DefaultDeadline
	MaxConcurrent int           // authorize and quote requests at a time; DefaultMaxConcurrent
	ExtraCostMax  int64         // most micros that one extra_cost may say, -1 for none; DefaultExtraCostMax
	IdleTimeout   time.Duration // how long a kept-alive connection may rest; DefaultIdleTimeout

	Now func() time.Time // nil: time.Now
}

func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Language == "" {
		c.Language = DefaultLanguage
	}
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.MaxConcurrent == 0 {
		c.MaxConcurrent = DefaultMaxConcurrent
	}
	if c.ExtraCostMax == 0 {
		c.ExtraCostMax = DefaultExtraCostMax
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.AudioURL = strings.TrimSuffix(c.AudioURL, "/")
	return c
}

// check reports everything that is wrong with a Config that has its defaults,
// and returns the address to bind.
func (c Config) check() (*net.TCPAddr, error) {
	var errs []error
	bad := func(field string, value any, format string, args ...any) {
		errs = append(errs, fmt.Errorf("hook %s %q: %s", field, fmt.Sprint(value), fmt.Sprintf(format, args...)))
	}
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	switch {
	case err != nil:
		bad("listen", c.Listen, "%v; write host:port, such as %s", err, DefaultListen)
	case !addr.IP.IsLoopback() && c.Token == "" && c.ClientCA == "":
		bad("listen", c.Listen, "not a loopback address, and anybody who reaches it could place and end calls; "+
			"set a token, or tls_cert, tls_key and client_ca, or listen on %s", DefaultListen)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls_cert", c.TLSCert, "tls_cert and tls_key go together; set both or neither")
	}
	if c.ClientCA != "" && c.TLSCert == "" {
		bad("client_ca", c.ClientCA, "client certificates need TLS; set tls_cert and tls_key too")
	}
	if c.AudioURL != "" {
		if u, err := url.Parse(c.AudioURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			bad("audio_url", c.AudioURL, "not an http or https URL; write one such as http://10.0.0.5:8402, or leave it out")
		}
	}
	if c.Announcer != "" {
		if _, _, err := net.SplitHostPort(c.Announcer); err != nil {
			bad("announcer", c.Announcer, "%v; write host:port", err)
		}
	}
	if c.NoTCP && c.Socket == "" {
		bad("socket", c.Socket, "without TCP there must be a socket; set its path")
	}
	if c.MaxBody < 0 {
		bad("max_body", c.MaxBody, "must be above zero")
	}
	if c.Deadline < 0 {
		bad("deadline", c.Deadline, "must be above zero")
	}
	if c.MaxConcurrent < 0 {
		bad("max_concurrent", c.MaxConcurrent, "must be above zero")
	}
	if c.ExtraCostMax < -1 {
		bad("extra_cost_max", c.ExtraCostMax, "must be above zero, or -1 for none")
	}
	if c.IdleTimeout < 0 {
		bad("idle_timeout", c.IdleTimeout, "must be above zero")
	}
	return addr, errors.Join(errs...)
}

// Server answers switches over HTTP. Make one with New.
type Server struct {
	cfg    Config
	auth   Authorizer
	events Events
	audio  http.Handler
	log    *slog.Logger
	m      *Metrics
	token  [sha256.Size]byte // of cfg.Token

	deadlines *authz.Deadlines

	authorize, quote, event, other endpoint

	deciding atomic.Int64 // authorize and quote requests that were admitted
	working  atomic.Int64 // requests and emergencies in progress
	draining atomic.Bool
	unknown  nameLog

	http   *http.Server
	addr   *net.TCPAddr // to bind
	tls    *tls.Config  // nil: plain
	bound  bound
	failed chan error
}

// New makes a server that is not listening yet. The audio handler serves
// /v1/audio/; nil answers 404 there.
//
// Errors: everything wrong with the Config, joined, each with field, value and
// remedy; among them a non-loopback address that nothing protects.
func New(cfg Config, auth Authorizer, events Events, audio http.Handler, log *slog.Logger, m *Metrics) (*Server, error) {
	cfg = cfg.withDefaults()
	addr, err := cfg.check()
	if err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.loadTLS()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, auth: auth, events: events, audio: audio, log: log, m: m,
		token:     sha256.Sum256([]byte(cfg.Token)),
		deadlines: authz.NewDeadlines(cfg.Deadline),
		addr:      addr, tls: tlsConfig,
		failed: make(chan error, 2),
	}
	s.authorize = m.endpoint("authorize", (*exchange).authorize)
	s.quote = m.endpoint("quote", (*exchange).quote)
	s.event = m.endpoint("events", (*exchange).event)
	s.other = m.endpoint("other", (*exchange).notFound)
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return s, nil
}
