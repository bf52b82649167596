package authz_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// book is a directory of few accounts.
type book struct {
	loading  bool
	lags     bool
	accounts map[string]*authz.Account
	numbers  map[string]authz.Number
}

func (b *book) Ready() bool { return !b.loading }
func (b *book) Fresh() bool { return !b.loading && !b.lags }
func (b *book) Account(id string) (*authz.Account, bool) {
	a, ok := b.accounts[id]
	return a, ok
}
func (b *book) Number(e164 string) (authz.Number, bool) {
	n, ok := b.numbers[e164]
	return n, ok
}

// tracked notes what the Authorizer hands over.
type tracked struct {
	mu        sync.Mutex
	calls     []authz.Call
	unchecked []authz.Hold
	abandoned []authz.Key
}

func (t *tracked) Epoch() int64 { return 7 }
func (t *tracked) Track(c authz.Call, _ authz.Held) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, c)
}
func (t *tracked) TrackUnchecked(h authz.Hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unchecked = append(t.unchecked, h)
}
func (t *tracked) Abandon(k authz.Key, _ string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.abandoned = append(t.abandoned, k)
}

// rig is an Authorizer over a real store on an embedded Redis.
type rig struct {
	*authz.Authorizer
	t     *testing.T
	redis *miniredis.Miniredis
	store *balance.Store
	book  *book
	track *tracked
	log   *bytes.Buffer
	set   authz.Settings
}

const (
	did    = "+31850835037"
	callee = "+31201234567"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	mr := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: mr.Addr(), MaxRetries: -1, DialerRetries: 1, DialTimeout: 100 * time.Millisecond})
	store, err := balance.New(rdb, balance.Config{Embedded: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(); _ = rdb.Close() })
	r := &rig{t: t, redis: mr, store: store, track: &tracked{}, log: &bytes.Buffer{},
		book: &book{accounts: map[string]*authz.Account{}, numbers: map[string]authz.Number{}}}
	em, err := tariff.NewEmergency(map[string][]string{"GB": {"999"}})
	if err != nil {
		t.Fatal(err)
	}
	r.set = authz.Settings{Slice: time.Minute, MinSeconds: 1, Unanswered: 4 * time.Minute, Country: "NL", Emergency: em,
		OnFailure: map[string]string{"strict": "terminate"},
		Policy:    authz.Policy{Mode: authz.PolicyKnown, Allowance: 5 * time.Minute, KnownFor: time.Hour, Healthy: 5 * credit.PerCredit, OpenCap: 10 * time.Minute}}
	r.Authorizer = authz.NewAuthorizer(r.set, r.book, store, r.track, slog.New(slog.NewTextHandler(r.log, nil)), nil)
	r.account("acme", 500)
	r.book.numbers[did] = authz.Number{ID: "018f0000-0000-7000-8000-000000000001", E164: did, Account: "acme"}
	return r
}

// account opens an account with so many credits.
func (r *rig) account(id string, credits int64) *authz.Account {
	r.t.Helper()
	a := &authz.Account{ID: id, Company: id, Status: authz.Active, Currency: "EUR", Tariff: "default", TimeZone: "UTC", Language: "nl"}
	if err := a.Resolve(tariff.Default()); err != nil {
		r.t.Fatal(err)
	}
	r.book.accounts[id] = a
	if err := r.store.OpenAccount(r.t.Context(), id, authz.Active, 20260101); err != nil {
		r.t.Fatal(err)
	}
	if credits != 0 {
		if _, err := r.store.Grant(r.t.Context(), id, 1, credit.Units(credits)*credit.PerCredit); err != nil {
			r.t.Fatal(err)
		}
	}
	return a
}

func (r *rig) held() credit.Units {
	r.t.Helper()
	b, err := r.store.Balance(r.t.Context(), "acme")
	if err != nil {
		r.t.Fatal(err)
	}
	return b.Held
}

func (r *rig) ask(id string, edit ...func(*authz.Request)) authz.Decision {
	req := authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound, CallID: id}, From: did, To: callee, Account: "acme"}
	for _, e := range edit {
		e(&req)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 250*time.Millisecond)
	defer cancel()
	return r.Authorize(ctx, &req)
}

func inbound(q *authz.Request) { q.Direction, q.From, q.To, q.Account = authz.Inbound, callee, did, "" }

func TestAllowHoldsOneSlice(t *testing.T) {
	r := newRig(t)
	d := r.ask("a")
	if !d.Allowed || d.Code != "" || d.SliceSeconds != 60 || d.MaxSeconds != 500*60 || d.Account != "acme" || d.NumberID == "" || d.OnFailure != "continue" {
		t.Fatalf("decision %+v", d)
	}
	if r.held() != credit.PerCredit {
		t.Fatalf("held %d units, want one credit", r.held())
	}
	if len(r.track.calls) != 1 || r.track.calls[0].UID != d.UID || r.track.calls[0].Epoch != 7 || r.track.calls[0].Detail.From != did {
		t.Fatalf("tracked %+v", r.track.calls)
	}
}

func TestSameRequestTwiceHoldsOnce(t *testing.T) {
	r := newRig(t)
	a, b := r.ask("a"), r.ask("a")
	if !b.Allowed || a.UID != b.UID || a.ExpiresAt != b.ExpiresAt || a.MaxSeconds != b.MaxSeconds || r.held() != credit.PerCredit || r.track.calls[0].UID != r.track.calls[1].UID {
		t.Fatalf("first %+v\nsecond %+v\nheld %d", a, b, r.held())
	}
	if c := r.ask("a", func(q *authz.Request) { q.To = "+31209999999" }); c.Allowed || c.Code != authz.CodeCallConflict {
		t.Fatalf("other input under the same id: %+v", c)
	}
}

func TestQuoteReservesNothing(t *testing.T) {
	r := newRig(t)
	q := authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound, CallID: "q"}, From: did, To: callee}
	d := r.Quote(t.Context(), &q)
	if !d.Allowed || d.MaxSeconds != 500*60 || r.held() != 0 || len(r.track.calls) != 0 {
		t.Fatalf("quote %+v, held %d", d, r.held())
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	r.account("poor", 0)
	susp := r.account("stopped", 10)
	susp.Status = authz.Suspended
	if err := r.store.SetStatus(t.Context(), "stopped", authz.Suspended); err != nil {
		t.Fatal(err)
	}
	busy := r.account("busy", 10)
	busy.Limits.MaxCalls = 1
	capped := r.account("capped", 10)
	capped.Limits.SpendPerDay = 1
	table, err := tariff.Parse([]byte("id: strict\nversion: 1\ncurrency: EUR\nrates:\n  - prefix: \"\"\n    credits_per_minute: 1\n  - prefix: \"+882\"\n    blocked: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.account("strict", 10).Resolve(table); err != nil {
		t.Fatal(err)
	}
	as := func(id string) func(*authz.Request) { return func(q *authz.Request) { q.Account = id } }
	if d := r.ask("busy-1", as("busy")); !d.Allowed {
		t.Fatalf("first call of busy: %+v", d)
	}
	for name, c := range map[string]struct {
		edit  func(*authz.Request)
		code  authz.Code
		param string
	}{
		"no credit":         {as("poor"), authz.CodeInsufficientCredits, ""},
		"suspended":         {as("stopped"), authz.CodeAccountSuspended, ""},
		"too many":          {as("busy"), authz.CodeTooManyCalls, ""},
		"day's cap":         {as("capped"), authz.CodeSpendLimitReached, ""},
		"blocked":           {func(q *authz.Request) { q.Account, q.To = "strict", "+88216123456" }, authz.CodeDestinationBlocked, ""},
		"unknown account":   {as("nobody"), authz.CodeAccountNotFound, "account"},
		"unknown number":    {func(q *authz.Request) { inbound(q); q.To = "+31850000000" }, authz.CodeAccountNotFound, "to"},
		"unknown caller":    {func(q *authz.Request) { q.Account, q.From = "", "+31850000000" }, authz.CodeAccountNotFound, "from"},
		"not its number":    {func(q *authz.Request) { inbound(q); q.Account = "poor" }, authz.CodeInvalidRequest, "account"},
		"nothing to go by":  {func(q *authz.Request) { q.Account, q.From = "", "anonymous" }, authz.CodeAccountNotFound, "from"},
		"emergency inside":  {func(q *authz.Request) { as("poor")(q); q.To = "1120" }, authz.CodeInsufficientCredits, ""},
		"emergency as part": {func(q *authz.Request) { as("poor")(q); q.To = "+31112" }, authz.CodeInsufficientCredits, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := r.ask("x-"+name, c.edit)
			if d.Allowed || d.Code != c.code || d.Param != c.param {
				t.Fatalf("got %+v, want %s (param %q)", d, c.code, c.param)
			}
			if (c.param == "") != (d.UID.Version() == 7) {
				t.Fatalf("uid %s of a call that %s", d.UID, name)
			}
		})
	}
}

func TestNumbersAreNormalizedAndTheOriginalKept(t *testing.T) {
	r := newRig(t)
	for i, to := range []string{"085 083 5037", "0031850835037", "sip:+31850835037@pbx.example;user=phone", "tel:+31850835037", "31850835037"} {
		d := r.ask(fmt.Sprint("n", i), func(q *authz.Request) { inbound(q); q.To = to })
		if i == 4 && !d.Allowed {
			continue // without a plus it is a national number, and none of ours
		}
		if !d.Allowed {
			t.Fatalf("to %q: %+v", to, d)
		}
		c := r.track.calls[len(r.track.calls)-1]
		if c.Detail.To != did || c.Detail.ToRaw != to {
			t.Fatalf("to %q kept as %+v", to, c.Detail)
		}
	}
}

func TestDirectoryNotLoadedIsNeverUnknown(t *testing.T) {
	r := newRig(t)
	r.book.loading = true
	if d := r.ask("a", func(q *authz.Request) { q.Account = "nobody" }); d.Allowed || d.Code != authz.CodeBalanceUnavailable {
		t.Fatalf("%+v", d)
	}
}

func TestUnknownToALaggingDirectoryIsNotAbsent(t *testing.T) {
	r := newRig(t)
	r.book.lags = true
	if d := r.ask("a", func(q *authz.Request) { q.Account = "nobody" }); d.Allowed || d.Code != authz.CodeBalanceUnavailable {
		t.Fatalf("%+v", d)
	}
	if d := r.ask("b"); !d.Allowed {
		t.Fatalf("an account it knows: %+v", d)
	}
}

func TestEmergencyAlwaysGoes(t *testing.T) {
	r := newRig(t)
	r.account("poor", 0).Status = authz.Suspended
	r.redis.Close()
	r.book.loading = true
	for _, to := range []string{"112", "911", "999", "sip:112@pbx.example", "1-1-2"} {
		if !r.Emergency(to) {
			t.Errorf("%s is not taken for an emergency number", to)
		}
		d := r.ask("e"+to, func(q *authz.Request) { q.Account, q.To = "poor", to })
		if !d.Allowed || d.MaxSeconds != tariff.Unlimited || d.Policy != "emergency" {
			t.Fatalf("%s: %+v", to, d)
		}
	}
	r.book.loading = false
	d := r.ask("recorded", func(q *authz.Request) { q.Account, q.To = "poor", "112" })
	if !d.Allowed || len(r.track.unchecked) != 1 {
		t.Fatalf("%+v, to be adopted: %+v", d, r.track.unchecked)
	}
	h := r.track.unchecked[0]
	if h.Price.Cost(3_600_000) != 0 || !h.Flags.Has(authz.FlagEmergency) || h.Account != "poor" {
		t.Fatalf("an emergency call costs nothing: %+v", h)
	}
}

func TestFailurePolicies(t *testing.T) {
	down := func(t *testing.T, mode authz.PolicyMode) *rig {
		r := newRig(t)
		r.set.Policy.Mode = mode
		r.Set(r.set)
		r.account("new", 100)
		r.account("low", 2)
		for _, id := range []string{"acme", "low"} {
			if d := r.ask("seen-"+id, func(q *authz.Request) { q.Account = id }); !d.Allowed {
				t.Fatalf("while Redis is up: %+v", d)
			}
		}
		r.redis.Close()
		return r
	}
	as := func(id string) func(*authz.Request) { return func(q *authz.Request) { q.Account = id } }

	t.Run("closed lets nobody call and gives a possible hold back", func(t *testing.T) {
		r := down(t, authz.PolicyClosed)
		d := r.ask("x")
		if d.Allowed || d.Code != authz.CodeBalanceUnavailable || d.Policy != "closed" || len(r.track.abandoned) != 1 {
			t.Fatalf("%+v, abandoned %v", d, r.track.abandoned)
		}
	})
	t.Run("known lets healthy accounts call up to their allowance", func(t *testing.T) {
		r := down(t, authz.PolicyKnown)
		if d := r.ask("x", as("new")); d.Allowed {
			t.Fatalf("an account never seen may call: %+v", d)
		}
		if d := r.ask("y", as("low")); d.Allowed {
			t.Fatalf("an account of low balance may call: %+v", d)
		}
		var total int64
		for i := range 20 {
			d := r.ask(fmt.Sprint("k", i))
			if !d.Allowed {
				if d.Code != authz.CodeBalanceUnavailable {
					t.Fatalf("%+v", d)
				}
				continue
			}
			if d.Policy != "known" || d.MaxSeconds <= 0 {
				t.Fatalf("%+v", d)
			}
			total += d.MaxSeconds
		}
		if total != 300 {
			t.Fatalf("%d seconds were given away, the allowance is 300", total)
		}
		for _, h := range r.track.unchecked {
			if !h.Flags.Has(authz.FlagUnchecked) {
				t.Fatalf("not flagged: %+v", h)
			}
		}
	})
	t.Run("open lets every known account call up to the cap", func(t *testing.T) {
		r := down(t, authz.PolicyOpen)
		d := r.ask("x", as("new"))
		if !d.Allowed || d.MaxSeconds != 300 || d.Policy != "open" {
			t.Fatalf("%+v", d)
		}
		total := d.MaxSeconds
		for i := range 20 {
			total += r.ask(fmt.Sprint("o", i), as("new")).MaxSeconds
		}
		if total != 600 {
			t.Fatalf("%d seconds were given away, the cap is 600", total)
		}
		if d := r.ask("y", as("nobody")); d.Code != authz.CodeAccountNotFound {
			t.Fatalf("%+v", d)
		}
		r.book.accounts["low"].Status = authz.Suspended
		if d := r.ask("z", as("low")); d.Code != authz.CodeAccountSuspended {
			t.Fatalf("%+v", d)
		}
	})
	t.Run("an account missing from Redis is lost, not without credit", func(t *testing.T) {
		r := newRig(t)
		r.ask("seen")
		r.redis.FlushAll()
		if d := r.ask("x"); !d.Allowed || d.Policy != "known" {
			t.Fatalf("%+v", d)
		}
	})
	t.Run("one account that is lost does not stop the others", func(t *testing.T) {
		r := newRig(t)
		r.set.Policy.Mode = authz.PolicyClosed
		r.Set(r.set)
		r.account("other", 100)
		r.redis.Del("rf:{p" + fmt.Sprintf("%02d", balance.Partition("acme", 64)) + "}:a:acme")
		for i := range 10 {
			if d := r.ask(fmt.Sprint("l", i)); d.Code != authz.CodeBalanceUnavailable {
				t.Fatalf("the lost one: %+v", d)
			}
			if d := r.ask(fmt.Sprint("m", i), as("other")); !d.Allowed {
				t.Fatalf("another: %+v", d)
			}
		}
	})
	t.Run("the store is asked again when it is back", func(t *testing.T) {
		r := down(t, authz.PolicyKnown)
		for i := range 10 {
			r.ask(fmt.Sprint("d", i))
		}
		if err := r.redis.Restart(); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for i := 0; ; i++ {
			if d := r.ask(fmt.Sprint("b", i)); d.Allowed && d.Policy == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("still by policy after 5 s")
			}
		}
	})
}

// slow is a store that answers only when its asker has given up.
type slow struct{}

func (slow) Authorize(ctx context.Context, _ *authz.Hold) (authz.Held, error) {
	<-ctx.Done()
	return authz.Held{}, fmt.Errorf("%w: %w", authz.ErrDown, context.Cause(ctx))
}

func TestAskerWhoLeavesGetsNoCallByPolicy(t *testing.T) {
	r := newRig(t)
	a := authz.NewAuthorizer(r.set, r.book, slow{}, r.track, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := a.Authorize(ctx, &authz.Request{Key: authz.Key{Switch: "s", Direction: authz.Outbound, CallID: "c"}, From: did, To: callee, Account: "acme"})
	if d.Allowed || len(r.track.abandoned) != 1 || len(r.track.unchecked) != 0 {
		t.Fatalf("%+v, abandoned %v", d, r.track.abandoned)
	}
}

func TestGoneGivesTheHoldBack(t *testing.T) {
	r := newRig(t)
	q := authz.Request{Key: authz.Key{Switch: "default", Direction: authz.Outbound, CallID: "g"}, From: did, To: callee}
	d := r.Authorize(t.Context(), &q)
	r.Gone(&q, d)
	r.Gone(&q, authz.Decision{Code: authz.CodeInsufficientCredits})
	if len(r.track.abandoned) != 1 || r.track.abandoned[0] != q.Key {
		t.Fatalf("abandoned %v", r.track.abandoned)
	}
}

func TestOnFailureIsTheSwitchs(t *testing.T) {
	r := newRig(t)
	if d := r.ask("a", func(q *authz.Request) { q.Switch = "strict" }); d.OnFailure != "terminate" {
		t.Fatalf("%+v", d)
	}
}

func TestEveryCodeHasItsAnswer(t *testing.T) {
	for _, c := range []authz.Code{authz.CodeInvalidRequest, authz.CodeMissingField, authz.CodeInsufficientCredits, authz.CodeSpendLimitReached,
		authz.CodeAccountSuspended, authz.CodeDestinationBlocked, authz.CodeAccountNotFound, authz.CodeCallConflict, authz.CodeCallEnded,
		authz.CodeTooManyCalls, authz.CodeBalanceUnavailable} {
		r := c.Refusal()
		if r.HTTP < 400 || r.SIP < 400 || r.Q850 < 1 || r.Q850 > 127 || r.Prompt == "" || r.Message == "" {
			t.Errorf("%s: %+v", c, r)
		}
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	_, err := slow{}.Authorize(canceled(t), nil)
	if !errors.Is(err, authz.ErrDown) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
