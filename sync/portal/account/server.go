package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/openapi"
)

// Path is where the customers' API is mounted.
const Path = "/api/"

const v1 = Path + "v1/"

// Directory answers from memory (package authz/directory).
type Directory interface {
	Ready() bool // false: nothing can be said to be unknown
	Account(id string) (*authz.Account, bool)
	NumberCount(account string) int
}

// Sums are an account's totals (package ledger). Errors: ledger.ErrNotFound, ErrUnavailable.
type Sums interface {
	// Sum adds up the calls that ended in [from, to).
	Sum(ctx context.Context, account string, from, to time.Time) (ledger.Sum, error)
	Totals(ctx context.Context, account string) (ledger.Totals, error)
}

// Lists are an account's calls and grants (package ledger). Errors:
// ledger.ErrNotFound, ErrUnavailable, and those of fn.
type Lists interface {
	Usage(ctx context.Context, account string, from, to time.Time, limit, offset int) ([]ledger.Call, ledger.Sum, error)
	Calls(ctx context.Context, account string, states []authz.State, limit, offset int) (page []ledger.Call, total int64, err error)
	Statement(ctx context.Context, account string, from, to time.Time, fn func(ledger.Line) error) error
}

// Balances is the balance store (package authz/balance). Errors: authz.ErrLost, ErrDown.
type Balances interface {
	Balance(ctx context.Context, account string) (authz.Balance, error)
	// Calls goes through all, ended ones and end-marks included; one that cannot be read comes with its error.
	Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error
}

// Config is what the API works with. A zero value that has a default is that.
type Config struct {
	Directory Directory
	Keys      KeyLookup
	Sums      Sums
	Lists     Lists
	Balances  Balances
	Redis     redis.UniversalClient // for the rate limit; nil: each sidecar limits by itself
	Routes    []Route               // further resources, for callers with a key

	Limit            int           // requests of a key in a window, 100
	Window           time.Duration // 1 min
	MaxBody          int64         // of a request, in bytes, 64 KiB
	Timeout          time.Duration // of one answer, 10 s
	RedisTimeout     time.Duration // of a question to Redis, 500 ms
	StatementTimeout time.Duration // of a whole statement, 10 min
	StalledAfter     time.Duration // how long a client may take no byte of a statement, 30 s
	Statements       int           // at once, half of them an account's at most, 4
	FlushEvery       time.Duration // how often the use of keys is written, 10 s

	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	c.Limit = cmp.Or(c.Limit, 100)
	c.Window = cmp.Or(c.Window, time.Minute)
	c.MaxBody = cmp.Or(c.MaxBody, 64<<10)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.RedisTimeout = cmp.Or(c.RedisTimeout, 500*time.Millisecond)
	c.StatementTimeout = cmp.Or(c.StatementTimeout, 10*time.Minute)
	c.StalledAfter = cmp.Or(c.StalledAfter, 30*time.Second)
	c.Statements = cmp.Or(c.Statements, 4)
	c.FlushEvery = cmp.Or(c.FlushEvery, 10*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Route is a further resource under /api/v1/, answered behind the same keys,
// limits and headers. Its handler finds who asks with [CallerOf].
type Route struct {
	Method string
	Path   string // a pattern of http.ServeMux without method: /api/v1/invoices/{id}
	Write  bool   // a suspended account may not
	Serve  http.Handler
}

// Caller is who asks.
type Caller struct {
	Account *authz.Account // read-only
	Key     ledger.APIKey
}

type callerKey struct{}

// CallerOf gives who asks, within the handler of a [Route].
func CallerOf(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// Server is the customers' API: an http.Handler for [Path], which any number of
// sidecars serve.
type Server struct {
	cfg        Config
	keys       *keyCache
	limit      *limiter
	mux        *http.ServeMux
	statements slots
	calm       calm
}

// New makes the handler. [Server.Run] does what has to be done beside requests.
func New(cfg Config) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, keys: newKeyCache(cfg.Keys, cfg.Now, cfg.Metrics), limit: newLimiter(&cfg),
		mux: http.NewServeMux(), statements: slots{most: cfg.Statements, used: make(map[string]int)}, calm: calm{log: cfg.Log, now: cfg.Now}}
	s.routes()
	return s
}

// Invalidate forgets what is known of keys that were made, changed or revoked,
// such as ledger.Changes tells. Without it a change counts within a second.
func (s *Server) Invalidate(keys ...ledger.APIKey) { s.keys.invalidate(keys...) }

// Run writes now and then which keys were used, until ctx is done, and then once more.
func (s *Server) Run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.FlushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.flush(ctx)
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			return
		}
	}
}

func (s *Server) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if err := s.keys.flush(ctx); err != nil {
		s.cfg.Log.Warn("the use of API keys could not be noted yet", logError, err)
	}
}

// resource answers one request of a caller; ctx has the answer's deadline. What
// it returns is answered in the envelope, unless something was written before.
type resource func(w http.ResponseWriter, r *http.Request, c Caller) *Error

// endpoint is a resource with what it asks of its caller.
type endpoint struct {
	work  resource
	open  bool // needs no key
	write bool // not for suspended accounts
	long  bool // keeps its own deadlines, and reads its own body
}

func (s *Server) routes() {
	paths := map[string]map[string]endpoint{}
	add := func(method, path string, e endpoint) {
		if paths[path] == nil {
			paths[path] = map[string]endpoint{}
		}
		paths[path][method] = e
		if method == http.MethodGet {
			paths[path][http.MethodHead] = e
		}
	}
	add(http.MethodGet, v1+"account", endpoint{work: s.account})
	add(http.MethodGet, v1+"usage", endpoint{work: s.usage})
	add(http.MethodGet, v1+"calls", endpoint{work: s.calls})
	add(http.MethodGet, v1+"statement", endpoint{work: s.statement, long: true})
	add(http.MethodGet, v1+"openapi.json", endpoint{work: document(openapi.JSON, "application/json"), open: true})
	add(http.MethodGet, v1+"openapi.yaml", endpoint{work: document(openapi.YAML, "application/yaml"), open: true})
	for _, r := range s.cfg.Routes {
		add(r.Method, r.Path, endpoint{write: r.Write, work: func(w http.ResponseWriter, req *http.Request, c Caller) *Error {
			r.Serve.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), callerKey{}, c)))
			return nil
		}})
	}
	for path, methods := range paths {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, methods) })
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, nil) })
}

// ServeHTTP answers requests under [Path].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w}
	s.cfg.Metrics.inFlight.Inc()
	secure(w.Header(), r)
	route := "none"
	defer func() {
		if v := recover(); v != nil {
			s.panicked(rec, v)
		}
		s.cfg.Metrics.inFlight.Dec()
		s.cfg.Metrics.request(route, rec.status, time.Since(start))
	}()
	// Whatever the listener's own deadlines are, no answer waits for its client for ever; net/http lifts it afterwards.
	rc := http.NewResponseController(rec)
	_ = rc.SetWriteDeadline(start.Add(s.cfg.Timeout + s.cfg.StalledAfter))

	clean := r.URL.Path == "" || path.Clean(r.URL.Path) == r.URL.Path
	if !clean {
		// The multiplexer would answer with a redirection, which no client of an API follows.
		s.serve(rec, r, nil)
		return
	}
	if _, pattern := s.mux.Handler(r); pattern != "/" && pattern != "" {
		route = pattern
	}
	s.mux.ServeHTTP(rec, r)
}

// panicked keeps a fault of ours from ending the connection without an answer.
func (s *Server) panicked(w *recorder, v any) {
	s.cfg.Metrics.panics.Inc()
	s.cfg.Log.Error("panic in the account API", logPanic, v, logStack, string(debug.Stack()))
	if w.status == 0 {
		WriteError(w, storeError(fmt.Errorf("panic: %v", v)))
		return
	}
	abandon(w)
}

// secure sets the headers that keep an answer from being kept, guessed at or framed.
func secure(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Vary", "Accept, Authorization")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// serve answers one request of a path with these methods; nil: there is no such path.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, methods map[string]endpoint) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	caller, refused := s.identify(ctx, r)
	if e := s.count(ctx, w.Header(), r, caller); e != nil {
		s.fail(w, r, e)
		return
	}
	e, ok := methods[r.Method]
	if !ok {
		s.fail(w, r, s.noSuch(w, r, methods))
		return
	}
	if !e.open {
		if refused == nil && e.write && caller.Account.Status != authz.Active {
			refused = &Error{Status: http.StatusForbidden, Code: portal.CodeForbidden, Message: "This account is suspended: it may read, and nothing else."}
		}
		if refused != nil {
			s.fail(w, r, refused)
			return
		}
	}
	if e := s.guardBody(w, r); e != nil {
		s.fail(w, r, e)
		return
	}
	if caller.Key.ID != "" {
		s.keys.touch(caller.Key.ID, s.cfg.Now())
	}
	bounded := r
	if !e.long {
		bounded = r.WithContext(ctx)
	}
	if err := e.work(w, bounded, caller); err != nil {
		s.fail(w, r, err)
	}
}

// noSuch is the answer where nothing is, or nothing is done that way.
func (s *Server) noSuch(w http.ResponseWriter, r *http.Request, methods map[string]endpoint) *Error {
	if len(methods) > 0 {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		return &Error{Status: http.StatusMethodNotAllowed, Code: portal.CodeMethodNotAllowed, Message: "This resource takes " + allowed + "."}
	}
	text := fmt.Sprintf("There is no resource %q.", clip(r.URL.Path))
	if rest, ok := strings.CutPrefix(r.URL.Path, Path); ok {
		if version, _, _ := strings.Cut(rest, "/"); version != "v1" {
			text = fmt.Sprintf("There is no version %q of this API; use v1.", clip(version))
		}
	}
	return &Error{Status: http.StatusNotFound, Code: portal.CodeNotFound, Message: text}
}

// guardBody keeps a request's body within its limit. A GET's is not used at all,
// but one without a declared length has to be read to know that it is short.
func (s *Server) guardBody(w http.ResponseWriter, r *http.Request) *Error {
	if r.ContentLength > s.cfg.MaxBody {
		return errTooLarge
	}
	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	if r.ContentLength >= 0 || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.Timeout))
	if _, err := discard(r.Body); errors.As(err, new(*http.MaxBytesError)) {
		return errTooLarge
	}
	return nil
}

// fail answers with an error, and logs what is wrong here.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, e *Error) {
	if r.Context().Err() != nil && e.Status >= http.StatusInternalServerError {
		// The client has left, and what failed failed for that.
		w.WriteHeader(statusClientGone)
		return
	}
	if e.Status == http.StatusInternalServerError {
		s.cfg.Log.Error("request of the account API failed", logPath, clip(r.URL.Path), logError, e.Cause)
	} else if e.Status == http.StatusServiceUnavailable && e.Cause != nil {
		s.calm.warn("requests of the account API cannot be answered", logPath, clip(r.URL.Path), logError, e.Cause)
	}
	WriteError(w, e)
}
