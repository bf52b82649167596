package authz

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

// Directory answers who an account or number is, from memory.
type Directory interface {
	Ready() bool // false: not loaded, so nothing can be said of anybody
	Fresh() bool // false: it may lag, so what it does not know may exist all the same
	Account(id string) (*Account, bool)
	Number(e164 string) (Number, bool)
}

// Store checks a balance and reserves credit, in one round trip.
type Store interface {
	Authorize(ctx context.Context, h *Hold) (Held, error)
}

// Tracker takes over the calls that were let go. Its methods do not wait.
type Tracker interface {
	// Epoch is the fencing epoch under which this sidecar owns calls.
	Epoch() int64
	// Track takes a call with a hold; one that is known already changes nothing.
	Track(c Call, h Held)
	// TrackUnchecked takes a call let go without a check, to be adopted as soon
	// as the store is back.
	TrackUnchecked(h Hold)
	// Abandon gives back a hold that may have been made for nobody.
	Abandon(k Key, account string)
}

// Settings are what the Authorizer goes by. They may be replaced while it works.
type Settings struct {
	Slice      time.Duration // talk time of one hold
	MinSeconds int64         // talk time that must be affordable, beside the tariff's own
	Unanswered time.Duration // how long an unanswered hold stands
	MaxCall    time.Duration // limit of any call; 0 = none
	Country    string        // of numbers without a plus, ISO 3166-1 alpha-2
	OnFailure  map[string]string
	Emergency  *tariff.Emergency
	Policy     Policy
}

// Authorizer decides who may call and for how long.
type Authorizer struct {
	dir      Directory
	store    Store
	tracker  Tracker
	settings atomic.Pointer[Settings]
	policy   *policyState
	log      *slog.Logger
	met      *Metrics
	now      func() time.Time
}

// NewAuthorizer makes an Authorizer. met may be nil.
func NewAuthorizer(s Settings, dir Directory, store Store, tracker Tracker, log *slog.Logger, met *Metrics) *Authorizer {
	if met == nil {
		met = NewMetrics(nil)
	}
	a := &Authorizer{dir: dir, store: store, tracker: tracker, policy: newPolicyState(), log: log, met: met, now: time.Now}
	a.Set(s)
	return a
}

// Set replaces the settings; calls already let go keep theirs.
func (a *Authorizer) Set(s Settings) { a.settings.Store(&s) }

// Emergency tells whether the dialled digits are an emergency number: matched
// exactly, before anything else is looked at.
func (a *Authorizer) Emergency(dialled string) bool {
	return a.settings.Load().Emergency.Match(Dialled(dialled))
}

// Gone says that the asker left before it had its answer: what was held is
// given back.
func (a *Authorizer) Gone(r *Request, d Decision) {
	if d.Allowed && d.Account != "" {
		a.met.gone.Inc()
		a.tracker.Abandon(r.Key, d.Account)
	}
}

// Authorize checks and reserves. The deadline of ctx bounds the store's answer;
// after it the failure policy decides.
func (a *Authorizer) Authorize(ctx context.Context, r *Request) Decision {
	d := a.decide(ctx, r, false)
	a.met.decision(r.Direction, &d)
	return d
}

// Quote tells what Authorize would say, reserving and recording nothing.
func (a *Authorizer) Quote(ctx context.Context, r *Request) Decision { return a.decide(ctx, r, true) }

func (a *Authorizer) decide(ctx context.Context, r *Request, dry bool) Decision {
	s := a.settings.Load()
	now := a.now()
	if s.Emergency.Match(Dialled(r.To)) {
		return a.emergency(s, r, now, dry)
	}
	h := Hold{Key: r.Key, Now: now.UnixMilli(), ExpiresAt: now.Add(s.Unanswered).UnixMilli(), Dry: dry}
	acct, refusal := a.resolve(s, r, &h)
	if acct == nil {
		return refusal
	}
	rate, err := acct.Table.Lookup(r.Direction, r.Mode, h.Detail.To)
	switch {
	case errors.Is(err, tariff.ErrUnknownMode):
		return Decision{Code: CodeInvalidRequest, Param: "mode", Message: fmt.Sprintf("Mode %.40q is not sold by tariff %s.", r.Mode, acct.Tariff), CallID: r.CallID, Account: acct.ID}
	case err != nil:
		h.Deny = CodeDestinationBlocked
		rate.Price = tariff.Price{Initial: 1, Step: 1, CreditPrice: 1}
	}
	h.Price = rate.Price
	h.MinSeconds = max(s.MinSeconds, rate.MinSeconds)
	h.SliceSeconds = int64(s.Slice / time.Second)
	h.Limits = acct.Limits
	if s.MaxCall > 0 {
		limit := int64(s.MaxCall / time.Second)
		if h.Limits.MaxSeconds == 0 || limit < h.Limits.MaxSeconds {
			h.Limits.MaxSeconds = limit
		}
	}
	h.Day = acct.Day(now)
	h.Epoch = a.tracker.Epoch()
	h.Detail.Prefix = rate.Prefix
	h.Hash = inputHash(r, acct.ID)
	if h.UID, err = newUID(); err != nil {
		return a.unavailable(r, acct, "No call uid could be made.")
	}

	if !dry && a.policy.tripped(now) {
		return a.byPolicy(s, acct, &h, now)
	}
	held, err := a.store.Authorize(ctx, &h)
	if err != nil {
		return a.failed(ctx, s, acct, &h, now, err)
	}
	a.policy.answered(acct.ID, held.Available, now)
	d := Decision{Code: held.Denied, CallID: r.CallID, UID: held.UID, Account: acct.ID, NumberID: h.Detail.NumberID, Language: acct.Language}
	if held.Denied != "" {
		return d
	}
	d.Allowed = true
	d.MaxSeconds = MaxSeconds(h.Price, held.Budget, held.Others, h.SliceSeconds, h.Limits.MaxSeconds)
	d.SliceSeconds = held.UntilMS / 1000
	d.ExpiresAt = held.ExpiresAt
	d.OnFailure = s.onFailure(r.Switch)
	if !dry {
		// Asked again it is tracked again: that is nothing new where the call is
		// known, and keeps an earlier asker's going away from ending it.
		a.tracker.Track(h.call(held), held)
	}
	if dry {
		d.UID = uuid.Nil
	}
	return d
}

// call is the call that a hold has become.
func (h *Hold) call(held Held) Call {
	return Call{Key: h.Key, Account: h.Account, UID: held.UID, State: StateHeld, Flags: h.Flags, Epoch: h.Epoch, Hash: h.Hash,
		Held: held.Units, UntilMS: held.UntilMS, CreatedAt: h.Now, ExpiresAt: held.ExpiresAt, Price: h.Price,
		MaxSeconds: h.Limits.MaxSeconds, Detail: h.Detail}
}

// resolve finds the account and fills in what the hold says of both ends.
func (a *Authorizer) resolve(s *Settings, r *Request, h *Hold) (*Account, Decision) {
	if !a.dir.Ready() {
		a.met.policy.WithLabelValues("directory").Inc()
		return nil, Decision{Code: CodeBalanceUnavailable, Message: "The directory of accounts is not loaded yet.", CallID: r.CallID}
	}
	d := &h.Detail
	d.From, _ = E164(r.From, s.Country)
	d.To, _ = E164(r.To, s.Country)
	if d.From != r.From {
		d.FromRaw = r.From
	}
	if d.To != r.To {
		d.ToRaw = r.To
	}
	own, param := d.To, "to"
	if r.Direction == Outbound {
		own, param = d.From, "from"
	}
	n, known := a.dir.Number(own)
	id := n.Account
	if r.Account != "" && (r.Direction == Outbound || !known) {
		id, param = r.Account, "account"
	}
	missing := Decision{Code: CodeAccountNotFound, Param: param, CallID: r.CallID}
	if !a.dir.Fresh() {
		missing = Decision{Code: CodeBalanceUnavailable, Message: "The account is not known here, and the directory may lag.", CallID: r.CallID}
	}
	if id == "" {
		return nil, missing
	}
	if r.Direction == Inbound && r.Account != "" && r.Account != id {
		return nil, Decision{Code: CodeInvalidRequest, Param: "account", Message: "The called number belongs to another account.", CallID: r.CallID}
	}
	acct, ok := a.dir.Account(id)
	if !ok {
		return nil, missing
	}
	if known && n.Account == acct.ID {
		d.NumberID = n.ID
	}
	h.Account = acct.ID
	d.Mode = r.Mode
	if d.Mode == "" {
		d.Mode = acct.Table.DefaultMode()
	}
	d.Tariff = acct.TariffVersion()
	d.Currency = acct.Currency
	return acct, Decision{}
}

// TariffVersion names the tariff a call is frozen at: "id@version".
func (a *Account) TariffVersion() string {
	if a.versioned != "" {
		return a.versioned
	}
	return fmt.Sprintf("%s@%d", a.Table.ID(), a.Table.Version())
}

// Resolve sets what look-ups want ready: the tariff's table and the time zone.
// An unknown zone is UTC and an error.
func (a *Account) Resolve(t *tariff.Table) error {
	a.Table = t
	a.versioned = fmt.Sprintf("%s@%d", t.ID(), t.Version())
	a.Location = time.UTC
	loc, err := time.LoadLocation(a.TimeZone)
	if err != nil {
		return fmt.Errorf("account %s: time zone %q: %w", a.ID, a.TimeZone, err)
	}
	a.Location = loc
	return nil
}

// Normalize gives a number in E.164, as E164 does in the default country.
func (a *Authorizer) Normalize(raw string) string {
	n, _ := E164(raw, a.settings.Load().Country)
	return n
}

// emergency lets the call go at once; it is recorded at cost 0 when the stores allow.
func (a *Authorizer) emergency(s *Settings, r *Request, now time.Time, dry bool) Decision {
	d := Decision{Allowed: true, CallID: r.CallID, MaxSeconds: tariff.Unlimited, SliceSeconds: tariff.Unlimited,
		ExpiresAt: now.Add(s.Unanswered).UnixMilli(), OnFailure: "continue", Policy: "emergency"}
	if dry || r.CallID == "" || !r.Direction.Valid() || r.Switch == "" {
		return d
	}
	h := Hold{Key: r.Key, Now: now.UnixMilli(), ExpiresAt: d.ExpiresAt}
	acct, _ := a.resolve(s, r, &h)
	if acct == nil {
		a.log.Warn("emergency call of no known account let go", "call_id", r.CallID, "switch", r.Switch)
		return d
	}
	var err error
	if h.UID, err = newUID(); err != nil {
		return d
	}
	h.Price = tariff.Price{Initial: 1, Step: 1, CreditPrice: acct.Table.CreditPrice()}
	h.SliceSeconds = tariff.Unlimited
	h.Day, h.Epoch, h.Hash, h.Flags = acct.Day(now), a.tracker.Epoch(), inputHash(r, acct.ID), Flags("").With(FlagEmergency)
	a.tracker.TrackUnchecked(h)
	d.UID, d.Account, d.NumberID = h.UID, acct.ID, h.Detail.NumberID
	return d
}

// failed decides where the store did not.
func (a *Authorizer) failed(ctx context.Context, s *Settings, acct *Account, h *Hold, now time.Time, err error) Decision {
	if h.Dry {
		return a.unavailable(&Request{Key: h.Key}, acct, "")
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		// The asker is gone: whatever was held is for nobody.
		a.met.gone.Inc()
		a.tracker.Abandon(h.Key, acct.ID)
		return a.unavailable(&Request{Key: h.Key}, acct, "")
	}
	switch {
	case !errors.Is(err, ErrDown):
		// One account's trouble (it is lost, or its fields are) is not everybody's.
		a.log.Warn("balance not checked; the failure policy decides", "account", acct.ID, "policy", s.Policy.Mode, "error", err)
	case a.policy.failed(now):
		a.log.Error("balance store does not answer; the failure policy decides", "policy", s.Policy.Mode, "error", err)
	}
	return a.byPolicy(s, acct, h, now)
}

func (a *Authorizer) unavailable(r *Request, acct *Account, msg string) Decision {
	return Decision{Code: CodeBalanceUnavailable, Message: msg, CallID: r.CallID, Account: acct.ID, Language: acct.Language}
}

func (s *Settings) onFailure(sw string) string {
	if f := s.OnFailure[sw]; f != "" {
		return f
	}
	return "continue"
}

// inputHash is what must not differ when a call id comes again.
func inputHash(r *Request, account string) string {
	h := uint64(14695981039346656037)
	add := func(s string) {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	add(account)
	add(r.From)
	add(r.To)
	add(r.Mode)
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], h)
	return base64.RawURLEncoding.EncodeToString(b[:])
}
