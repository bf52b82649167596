package page

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

// Path is where the page is mounted, with all below it.
const Path = "/billing"

//go:embed static
var static embed.FS

// Requests of an account in a minute, all its browsers together. An overview
// that is watched on a busy day takes one a second.
const (
	MostLooks   = 600
	MostChanges = 60 // those that change something or ask others
)

// Config is what the page works with. A zero value that has a default is that.
type Config struct {
	Directory Directory
	Sessions  Sessions
	KeyLookup KeyLookup
	Keys      Keys
	Book      Book
	Balances  Balances

	// What may be missing: its section then says so.
	Shop      Shop
	TopUps    TopUps
	Invoices  Invoices
	Details   Details
	Alerting  Alerting
	Webhooks  Webhooks
	Statement StatementFile

	Looks   Quota // requests of an account; nil: 600 in a minute, counted here alone
	Changes Quota // those of them that change something or ask others; nil: 60

	URL        string   // base URL by which customers reach it; empty: as the request was addressed
	FormAction []string // origins that buying redirects to, https://checkout.stripe.com

	NeedsPostalCode func(country string) bool // where an address has to have one; nil: nowhere

	SessionFor   time.Duration // how long a session lasts, 12 h
	IdleFor      time.Duration // how long one lasts unused, 2 h
	Timeout      time.Duration // of one answer, 10 s
	TestTimeout  time.Duration // of a webhook's test, 15 s; longer than the test's own
	RedisTimeout time.Duration // of a question to the balance store, 500 ms
	WatchEvery   time.Duration // how often a watched account is looked at, 1 s
	SureEvery    time.Duration // how often a watcher's session is looked up again, 10 s
	Tries        int           // failed sign-ins of an address in a minute, 10

	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	c.SessionFor = cmp.Or(c.SessionFor, 12*time.Hour)
	c.IdleFor = cmp.Or(c.IdleFor, 2*time.Hour)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.TestTimeout = cmp.Or(c.TestTimeout, 15*time.Second)
	c.RedisTimeout = cmp.Or(c.RedisTimeout, 500*time.Millisecond)
	c.WatchEvery = cmp.Or(c.WatchEvery, time.Second)
	c.SureEvery = cmp.Or(c.SureEvery, 10*time.Second)
	c.Tries = cmp.Or(c.Tries, 10)
	c.URL = strings.TrimRight(c.URL, "/")
	if c.NeedsPostalCode == nil {
		c.NeedsPostalCode = func(string) bool { return false }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Looks == nil {
		c.Looks = account.NewQuota(account.Config{Limit: MostLooks, Now: c.Now})
	}
	if c.Changes == nil {
		c.Changes = account.NewQuota(account.Config{Limit: MostChanges, Now: c.Now})
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Page is the billing page: an http.Handler for [Path], which any number of
// sidecars serve.
type Page struct {
	cfg    Config
	mux    *http.ServeMux
	views  views
	origin *http.CrossOriginProtection
	tries  tries
	hub    hub
	policy string // Content-Security-Policy, without form-action

	stopping context.Context // done: whoever watches is let go
	stop     context.CancelFunc
}

// New makes the page. [Page.Run] does what has to be done beside requests.
// Errors: a template or a catalogue is broken.
func New(cfg Config) (*Page, error) {
	p := &Page{cfg: cfg.withDefaults(), mux: http.NewServeMux(), origin: http.NewCrossOriginProtection()}
	p.tries = tries{most: p.cfg.Tries, all: map[string]window{}, late: make(chan struct{}, lateTries)}
	p.stopping, p.stop = context.WithCancel(context.Background())
	p.hub = hub{page: p, watched: map[string]*watch{}}
	p.policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
	files, err := p.routeStatic()
	if err != nil {
		return nil, err
	}
	if p.views, err = loadViews(files); err != nil {
		return nil, err
	}
	p.routes()
	return p, nil
}

// Stop lets those go who watch a balance, so that the server can be shut down:
// it is meant for http.Server.RegisterOnShutdown.
func (p *Page) Stop() { p.stop() }

// Run removes sessions that are over now and then, until ctx is done.
func (p *Page) Run(ctx context.Context) {
	defer func() {
		p.stop()
		p.hub.looks.Wait()
	}()
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		short, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
		if err := p.cfg.Sessions.DropSessions(short, p.cfg.Now()); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("old sessions of the billing page could not be removed yet", logError, err)
		}
		cancel()
	}
}

// work answers one request. What it returns is answered as an error page.
type work func(v *visit) error

func (p *Page) routes() {
	open := func(pattern string, h work) { p.mux.HandleFunc(pattern, p.serve(h)) }
	in := func(pattern string, h work) {
		p.mux.HandleFunc(pattern, p.serve(func(v *visit) error { return p.signedIn(v, h) }))
	}
	open("GET "+Path+"/sign-in", p.showSignIn)
	open("POST "+Path+"/sign-in", p.signIn)
	open("GET "+Path+"/link", p.showLink)
	open("POST "+Path+"/link", p.useLink)
	in("POST "+Path+"/sign-out", p.signOut)
	in("GET "+Path, p.overview)
	in("GET "+Path+"/live", p.live)
	in("GET "+Path+"/usage", p.usage)
	in("GET "+Path+"/calls", p.calls)
	in("GET "+Path+"/statement", p.statement)
	in("GET "+Path+"/statement.csv", p.statementFile)
	in("GET "+Path+"/add-credits", p.showShop)
	in("POST "+Path+"/add-credits", p.buy)
	in("GET "+Path+"/paid", p.paid)
	in("POST "+Path+"/top-up", p.setTopUp)
	in("POST "+removeCardPath, p.removeCard)
	in("GET "+Path+"/invoices", p.invoices)
	in("GET "+Path+"/invoices/{id}/pdf", p.invoicePDF)
	in("GET "+Path+"/details", p.showDetails)
	in("POST "+Path+"/details", p.setDetails)
	in("GET "+Path+"/notices", p.showNotices)
	in("POST "+Path+"/alerts", p.setAlerts)
	in("POST "+Path+"/webhook", p.setWebhook)
	in("POST "+Path+"/webhook/test", p.testWebhook)
	in("GET "+Path+"/keys", p.showKeys)
	in("POST "+Path+"/keys", p.makeKey)
	in("POST "+Path+"/keys/{id}/revoke", p.revokeKey)
	open("/", func(v *visit) error {
		if v.r.URL.Path == Path+"/" {
			return v.redirect(Path)
		}
		return errNotFound
	})
}

// routeStatic serves the embedded files under names that change with what is
// in them, so that they may be kept for ever.
func (p *Page) routeStatic() (map[string]string, error) {
	files := map[string]string{}
	entries, err := fs.ReadDir(static, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := fs.ReadFile(static, "static/"+e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		kind, ext := "text/css; charset=utf-8", path.Ext(e.Name())
		switch ext {
		case ".js":
			kind = "text/javascript; charset=utf-8"
		case ".svg":
			kind = "image/svg+xml"
		}
		at := Path + "/static/" + strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		files[e.Name()] = at
		p.mux.HandleFunc("GET "+at, func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", kind)
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
			_, _ = w.Write(b) // a client that is gone needs no answer
		})
	}
	return files, nil
}

// ServeHTTP answers requests under [Path].
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	p.secure(w.Header(), r)
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			panic(v) // not ours: net/http breaks the answer off
		} else if v != nil {
			p.cfg.Metrics.panics.Inc()
			p.cfg.Log.Error("panic in the billing page", logPanic, v, logStack, string(debug.Stack()))
			if rec.status == 0 {
				http.Error(rec, "Something went wrong on our side.", http.StatusInternalServerError)
			}
		}
		if rec.status > 0 {
			p.cfg.Metrics.requests.WithLabelValues(string(rune('0'+rec.status/100)) + "xx").Inc()
		}
	}()
	_ = http.NewResponseController(rec).SetWriteDeadline(time.Now().Add(4 * p.cfg.Timeout))
	p.mux.ServeHTTP(rec, r)
}

// secure sets the headers that keep an answer from being kept, guessed at,
// framed, and from loading or sending anything elsewhere.
func (p *Page) secure(h http.Header, r *http.Request) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", p.policy+"; form-action 'self'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	// Not no-referrer: with that, browsers send Origin: null with the page's own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Vary", "Accept-Language, Cookie")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if secureRequest(r) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// secureRequest tells whether the browser speaks TLS, to us or to a proxy before
// us. Nobody but the browser itself gains or loses by its answer.
func secureRequest(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// base is the address by which the browser reaches this server.
func (p *Page) base(r *http.Request) string {
	if p.cfg.URL != "" {
		return p.cfg.URL
	}
	if secureRequest(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// visit is one request.
type visit struct {
	page    *Page
	w       *recorder
	r       *http.Request
	ctx     context.Context
	lang    *language
	session ledger.Session
	token   []byte         // its hash
	account *authz.Account // nil: nobody is signed in
}

const maxForm = 64 << 10

// serve makes a handler of work.
func (p *Page) serve(h work) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), p.cfg.Timeout)
		defer cancel()
		rec, ok := w.(*recorder)
		if !ok {
			rec = &recorder{ResponseWriter: w}
		}
		v := &visit{page: p, w: rec, r: r, ctx: ctx, lang: p.views.match(r.Header.Get("Accept-Language"))}
		err := p.origin.Check(r)
		switch {
		case err != nil:
			p.cfg.Log.Warn("a form of another site was refused", logPath, r.URL.Path, logRemote, peer(r), logReason, err)
			err = errForeign
		case r.Method == http.MethodPost:
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err = r.ParseForm(); err != nil {
				err = errForm
			}
		}
		if err == nil {
			err = h(v)
		}
		if err != nil {
			v.fail(err)
		}
	}
}

// problem is an error page.
type problem struct {
	status int
	key    string // of its text in the catalogues
}

func (e *problem) Error() string { return e.key }

var (
	errNotFound    = &problem{http.StatusNotFound, "error.not_found"}
	errForeign     = &problem{http.StatusForbidden, "error.foreign"}
	errForm        = &problem{http.StatusBadRequest, "error.form"}
	errLimited     = &problem{http.StatusTooManyRequests, "error.limited"}
	errStale       = &problem{http.StatusForbidden, "error.stale"}
	errSuspended   = &problem{http.StatusForbidden, "error.suspended"}
	errUnavailable = &problem{http.StatusServiceUnavailable, "error.unavailable"}
	errMissing     = &problem{http.StatusServiceUnavailable, "error.missing"}
	errInternal    = &problem{http.StatusInternalServerError, "error.internal"}
)

// fail answers with an error page, and logs what is wrong here.
func (v *visit) fail(err error) {
	own, log := errInternal, v.page.cfg.Log
	switch {
	case errors.As(err, &own):
	case v.r.Context().Err() != nil:
		return // nobody is there to read it
	case errors.Is(err, ledger.ErrNotFound):
		own = errNotFound
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrSchema), errors.Is(err, context.DeadlineExceeded):
		own = errUnavailable
		log.Warn("a request of the billing page cannot be answered", logPath, v.r.URL.Path, logError, err)
	default:
		own = errInternal
		log.Error("request of the billing page failed", logPath, v.r.URL.Path, logError, err)
	}
	if v.w.status != 0 {
		return // it has begun: what remains is to break off
	}
	if own.status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "2")
	}
	if err := v.render(own.status, "error", "", own.key); err != nil {
		log.Error("the error page cannot be shown", logError, err)
		http.Error(v.w, http.StatusText(own.status), own.status)
	}
}

// redirect sends the browser on after a form, or to the sign-in.
func (v *visit) redirect(to string) error {
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// recorder remembers an answer's status.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write notes that the status is 200 where none was given.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// peer is whom a request's failures are counted under: its address, or where it
// comes through a proxy on this machine, the address that this proxy has seen.
// What a browser writes into the header itself stands before that.
func peer(r *http.Request) string {
	from := account.Peer(r.RemoteAddr)
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
		return from
	}
	seen := r.Header.Values("X-Forwarded-For")
	if len(seen) == 0 {
		return from
	}
	last := seen[len(seen)-1]
	return account.Peer(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
}

// window counts the failed sign-ins of an address within a minute.
type window struct {
	end   time.Time
	count int
}

const (
	keptWindows = 4096
	lateTries   = 4 // of addresses that failed too often, in the ledger at once
)

// tries are the failed sign-ins of late. A key has 256 random bits: this is not
// what keeps them from being guessed, but what keeps guessing from the ledger.
// A key that is in force signs in all the same.
type tries struct {
	most int
	late chan struct{}

	mu  sync.Mutex
	all map[string]window
}

// allowed tells whether an address has failed no more often than it may.
func (t *tries) allowed(peer string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.all[peer]
	return now.After(w.end) || w.count < t.most
}

// failed counts a try that was in vain.
func (t *tries) failed(peer string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, known := t.all[peer]
	if !known && len(t.all) >= keptWindows {
		for other, w := range t.all {
			if now.After(w.end) || len(t.all) >= keptWindows {
				delete(t.all, other)
			}
		}
	}
	if now.After(w.end) {
		w = window{end: now.Add(time.Minute)}
	}
	w.count++
	t.all[peer] = w
}
