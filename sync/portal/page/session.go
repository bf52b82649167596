package page

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

const (
	tokenBytes = 32
	// before is how long a form of the sign-in may stay open.
	before = time.Hour
)

// cookieName is __Host- over TLS: no other host and no plain connection can set it.
func cookieName(r *http.Request, name string) string {
	if secureRequest(r) {
		return "__Host-" + name
	}
	return name
}

const (
	sessionCookie = "ringfence_session"
	formCookie    = "ringfence_form" // what the sign-in's forms repeat before there is a session
)

// MintToken makes a token for a session or a sign-in link. Only its hash is to be kept.
func MintToken() (token string, hash []byte) {
	var b [tokenBytes]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	token = base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// LinkURL is the address of a sign-in link, below the base URL of the public listener.
func LinkURL(base, token string) string {
	return strings.TrimRight(base, "/") + Path + "/link?token=" + url.QueryEscape(token)
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// cookie reads a token from a cookie; empty where there is none that could be one.
func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(cookieName(r, name))
	if err != nil || len(c.Value) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return ""
	}
	return c.Value
}

// setCookie gives the browser a token; for less than nothing it is taken away.
func (v *visit) setCookie(name, value string, lasts time.Duration) {
	http.SetCookie(v.w, &http.Cookie{Name: cookieName(v.r, name), Value: value, Path: "/", MaxAge: int(lasts / time.Second),
		HttpOnly: true, Secure: secureRequest(v.r), SameSite: http.SameSiteLaxMode})
}

// signedIn answers for whoever has a session, and sends others to the sign-in.
func (p *Page) signedIn(v *visit, h work) error {
	err := p.find(v)
	if errors.Is(err, ledger.ErrNotFound) {
		if cookie(v.r, sessionCookie) != "" {
			v.setCookie(sessionCookie, "", -time.Second)
		}
		if v.r.Header.Get("Accept") == "text/event-stream" || v.r.URL.Query().Has("part") {
			return &problem{http.StatusUnauthorized, "error.over"}
		}
		to := Path + "/sign-in"
		if v.r.Method == http.MethodGet && v.r.URL.Path != Path {
			to += "?next=" + url.QueryEscape(v.r.URL.RequestURI())
		}
		return v.redirect(to)
	}
	if err != nil {
		return err
	}
	if err := p.count(v); err != nil {
		return err
	}
	if v.r.Method == http.MethodPost {
		if !sameToken(v.r.PostForm.Get("csrf"), v.csrf()) {
			p.cfg.Log.Warn("a form without its session's secret was refused", logPath, v.r.URL.Path, logAccount, v.account.ID, logRemote, peer(v.r))
			return errStale
		}
		if v.account.Status != authz.Active && v.r.URL.Path != Path+"/sign-out" && v.r.URL.Path != removeCardPath {
			return errSuspended
		}
	}
	return h(v)
}

// count counts a request of an account. Signing out is never refused.
func (p *Page) count(v *visit) error {
	if v.r.URL.Path == Path+"/sign-out" {
		return nil
	}
	after, ok := p.cfg.Looks.Take(v.ctx, "page:"+v.account.ID)
	if ok && (v.r.Method == http.MethodPost || v.r.PathValue("id") != "") { // an invoice is asked of the payment provider
		after, ok = p.cfg.Changes.Take(v.ctx, "page-changes:"+v.account.ID)
	}
	if ok {
		return nil
	}
	p.cfg.Metrics.limited.Inc()
	v.w.Header().Set("Retry-After", strconv.FormatInt(int64(after/time.Second), 10))
	return errLimited
}

// find looks a request's session up. Errors: ledger.ErrNotFound, where it has none that is in force.
func (p *Page) find(v *visit) error {
	token := cookie(v.r, sessionCookie)
	if token == "" {
		return ledger.ErrNotFound
	}
	now := p.cfg.Now()
	hash := hashToken(token)
	s, err := p.cfg.Sessions.Session(v.ctx, hash, now)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(s.Hash, hash) != 1 || now.Sub(s.Seen) > p.cfg.IdleFor {
		return ledger.ErrNotFound
	}
	a, ok := p.cfg.Directory.Account(s.Account)
	if !ok {
		return errUnavailable // the session is real, so the account is: this sidecar has not heard of it yet
	}
	v.session, v.token, v.account = s, hash, a
	if now.Sub(s.Seen) > time.Minute {
		if err := p.cfg.Sessions.TouchSession(v.ctx, hash, now); err != nil {
			p.cfg.Log.Warn("the use of a session could not be noted", logAccount, s.Account, logError, err)
		}
	}
	return nil
}

// csrf is what the visit's forms repeat.
func (v *visit) csrf() string {
	if v.account == nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(v.session.CSRF)
}

func sameToken(given, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(given), []byte(want)) == 1
}

// signInForm is the sign-in as it is shown.
type signInForm struct {
	form
	Secret string // what the form repeats
	Next   string
	Token  string // of a link
}

// formSecret gives what a form before the session repeats: the hash of a cookie's
// value, which another site can neither read nor set together with the form.
func (v *visit) formSecret() string {
	token := cookie(v.r, formCookie)
	if token == "" {
		token, _ = MintToken()
		v.setCookie(formCookie, token, before)
	}
	return secretOf(token)
}

func secretOf(token string) string {
	return base64.RawURLEncoding.EncodeToString(hashToken("form " + token))
}

func (v *visit) formSecretGiven() bool {
	token := cookie(v.r, formCookie)
	return token != "" && sameToken(v.r.PostForm.Get("csrf"), secretOf(token))
}

// next is where the sign-in leads: a path of this page, whatever was asked for.
func next(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.IsAbs() || u.Host != "" || u.Opaque != "" || u.User != nil || strings.ContainsAny(asked, "\\\r\n\t") {
		return Path
	}
	if u.Path != Path && !strings.HasPrefix(u.Path, Path+"/") || strings.Contains(u.Path, "..") || strings.Contains(u.Path, "//") ||
		strings.HasPrefix(u.Path, Path+"/sign-") || strings.HasPrefix(u.Path, Path+"/live") {
		return Path
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}

func (p *Page) showSignIn(v *visit) error {
	if p.find(v) == nil {
		return v.redirect(next(v.r.URL.Query().Get("next")))
	}
	return v.render(http.StatusOK, "sign-in", "", &signInForm{Secret: v.formSecret(), Next: next(v.r.URL.Query().Get("next"))})
}

func (p *Page) signIn(v *visit) error {
	f := &signInForm{Next: next(v.r.PostForm.Get("next"))}
	again := func(status int, message string) error {
		f.Secret = v.formSecret()
		f.wrong("key", v.lang.text(message))
		return v.render(status, "sign-in", "", f)
	}
	if !v.formSecretGiven() {
		return again(http.StatusForbidden, "sign_in.stale")
	}
	now := p.cfg.Now()
	refused := func(message string) error { return p.refuse(v, "key", message, again) }
	key := strings.TrimSpace(v.r.PostForm.Get("key"))
	switch {
	case key == "":
		return again(http.StatusUnprocessableEntity, "sign_in.no_key")
	case !account.WellFormed(key):
		return refused("sign_in.malformed")
	}
	done, err := p.queue(v)
	if err != nil {
		return err
	}
	defer done()
	hash := account.HashKey(key)
	k, err := p.cfg.KeyLookup.KeyByHash(v.ctx, hash[:])
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return refused("sign_in.unknown")
	case err != nil:
		return err
	case subtle.ConstantTimeCompare(k.Hash, hash[:]) != 1:
		return refused("sign_in.unknown")
	case !k.Revoked.IsZero():
		return refused("sign_in.revoked")
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return refused("sign_in.expired")
	}
	token, s := p.newSession(now)
	s.Account, s.KeyID = k.Account, k.ID
	if !k.Expires.IsZero() && k.Expires.Before(s.Expires) {
		s.Expires = k.Expires
	}
	if err := p.cfg.Sessions.AddSession(v.ctx, s); err != nil {
		return err
	}
	p.begin(v, "key", token, &s)
	return v.redirect(f.Next)
}

// refuse answers a sign-in in vain, and counts it. Whoever failed too often is
// told no more than that.
func (p *Page) refuse(v *visit, by, message string, again func(status int, message string) error) error {
	now, from := p.cfg.Now(), peer(v.r)
	if !p.tries.allowed(from, now) {
		p.cfg.Metrics.signIns.WithLabelValues(by, "limited").Inc()
		v.w.Header().Set("Retry-After", "60")
		return again(http.StatusTooManyRequests, "sign_in.limited")
	}
	p.tries.failed(from, now)
	p.cfg.Metrics.signIns.WithLabelValues(by, "refused").Inc()
	return again(http.StatusUnprocessableEntity, message)
}

// queue has addresses that failed too often come to the ledger a few at a time.
// They are not turned away unheard: behind a proxy, all customers may share one.
// Errors: that of ctx, where the turn does not come.
func (p *Page) queue(v *visit) (done func(), err error) {
	if p.tries.allowed(peer(v.r), p.cfg.Now()) {
		return func() {}, nil
	}
	select {
	case p.tries.late <- struct{}{}:
		return func() { <-p.tries.late }, nil
	case <-v.ctx.Done():
		return nil, v.ctx.Err()
	}
}

func (p *Page) newSession(now time.Time) (token string, s ledger.Session) {
	token, hash := MintToken()
	csrf := make([]byte, tokenBytes)
	_, _ = rand.Read(csrf)
	return token, ledger.Session{Hash: hash, CSRF: csrf, Created: now, Seen: now, Expires: now.Add(p.cfg.SessionFor)}
}

// begin gives the browser its new session, and ends the one it had: a token that
// was there before the sign-in is never one afterwards.
func (p *Page) begin(v *visit, by, token string, s *ledger.Session) {
	if old := cookie(v.r, sessionCookie); old != "" {
		if err := p.cfg.Sessions.EndSession(v.ctx, hashToken(old)); err != nil {
			p.cfg.Log.Warn("an earlier session could not be ended", logAccount, s.Account, logError, err)
		}
	}
	v.setCookie(sessionCookie, token, s.Expires.Sub(s.Created))
	v.setCookie(formCookie, "", -time.Second)
	p.cfg.Metrics.signIns.WithLabelValues(by, "in").Inc()
	p.cfg.Log.Info("signed in to the billing page", logAccount, s.Account, "by", by, logRemote, peer(v.r))
}

func (p *Page) showLink(v *visit) error {
	return v.render(http.StatusOK, "link", "", &signInForm{Secret: v.formSecret(), Token: v.r.URL.Query().Get("token")})
}

func (p *Page) useLink(v *visit) error {
	f := &signInForm{Token: v.r.PostForm.Get("token")}
	again := func(status int, message string) error {
		f.Secret = v.formSecret()
		f.wrong("token", v.lang.text(message))
		return v.render(status, "link", "", f)
	}
	if !v.formSecretGiven() {
		return again(http.StatusForbidden, "sign_in.stale")
	}
	done, err := p.queue(v)
	if err != nil {
		return err
	}
	defer done()
	token, s := p.newSession(p.cfg.Now())
	s, err = p.cfg.Sessions.AddSessionByLink(v.ctx, hashToken(f.Token), s)
	if errors.Is(err, ledger.ErrNotFound) {
		return p.refuse(v, "link", "sign_in.link_over", again)
	}
	if err != nil {
		return err
	}
	p.begin(v, "link", token, &s)
	return v.redirect(Path)
}

func (p *Page) signOut(v *visit) error {
	if err := p.cfg.Sessions.EndSession(v.ctx, v.token); err != nil {
		return err
	}
	v.setCookie(sessionCookie, "", -time.Second)
	return v.redirect(Path + "/sign-in?done=out")
}
