package meter_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/meter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// base is the default tariff: one credit a minute, by the second, so that a
// second costs 1,000 units.
var base = tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000}

var discard = slog.New(slog.DiscardHandler)

const second = credit.PerCredit / 60

// book is a directory of accounts.
type book struct {
	mu       sync.Mutex
	accounts map[string]*authz.Account
	numbers  map[string]authz.Number
}

func (b *book) Account(id string) (*authz.Account, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.accounts[id]
	return a, ok
}

func (b *book) Number(e164 string) (authz.Number, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.numbers[e164]
	return n, ok
}

// rig is a deployment in a bubble of its own time, on miniredis with the real
// scripts.
type rig struct {
	t     *testing.T
	book  *book
	store *bubbled
	sw    *fakeSwitch
	m     *meter.Meter
	reg   *prometheus.Registry
	cfg   meter.Config
	stop  context.CancelFunc
	done  chan error
	grant map[string]int64
}

// metered runs f in a bubble with a running meter whose switch "pbx" is sw.
func metered(t *testing.T, sw meter.Switch, f func(*rig), change ...func(*meter.Config)) {
	t.Helper()
	t.Parallel()
	store := newBubbled(t, miniredis.RunT(t))
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, store)
		for _, c := range change {
			c(&r.cfg)
		}
		r.run(sw)
		defer r.halt()
		f(r)
	})
}

func newRig(t *testing.T, store *bubbled) *rig {
	return &rig{t: t, book: &book{accounts: map[string]*authz.Account{}, numbers: map[string]authz.Number{}}, store: store,
		grant: map[string]int64{}, cfg: meter.Config{Name: "a", Normalize: func(s string) string { return "+" + strings.TrimPrefix(s, "+") }}}
}

// run starts a meter.
func (r *rig) run(sw meter.Switch) {
	if f, ok := sw.(interface{ base() *fakeSwitch }); ok {
		r.sw = f.base()
	}
	r.reg = prometheus.NewRegistry()
	r.m = meter.New(r.cfg, r.store, r.book, map[string]meter.Switch{"pbx": sw}, discard, meter.NewMetrics(r.reg))
	if !r.store.down.Load() {
		must(r.t, r.m.Register(r.t.Context()))
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, make(chan error, 1)
	m := r.m
	go func() { r.done <- m.Run(ctx) }()
	if r.sw != nil {
		r.sw.bind(m)
	}
}

func (r *rig) halt() {
	r.t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		r.t.Errorf("Run: %v", err)
	}
}

// account makes one with so many seconds of talk.
func (r *rig) account(id string, talk int64) {
	r.t.Helper()
	r.store.open(r.t, id)
	r.book.mu.Lock()
	r.book.accounts[id] = &authz.Account{ID: id, Status: authz.Active, Currency: "EUR"}
	r.book.mu.Unlock()
	r.credit(id, talk)
}

func (r *rig) credit(id string, talk int64) {
	r.t.Helper()
	r.grant[id]++
	r.store.grant(r.t, id, r.grant[id], credit.Units(talk)*second)
}

func key(id string) authz.Key {
	return authz.Key{Switch: "pbx", Direction: authz.Outbound, CallID: id}
}

func (r *rig) hold(account, id string) *authz.Hold {
	now := time.Now().UnixMilli()
	uid, err := uuid.NewV7()
	must(r.t, err)
	return &authz.Hold{Key: key(id), UID: uid, Account: account, Hash: "h", Now: now, Day: 20000101, Epoch: r.m.Epoch(), Price: base,
		MinSeconds: 1, SliceSeconds: 60, ExpiresAt: now + 240_000, Detail: authz.Detail{From: "+31850835037", To: "+31201234567", Currency: "EUR"}}
}

// place authorizes a call.
func (r *rig) place(account, id string) {
	r.t.Helper()
	r.placeHold(r.hold(account, id))
}

func (r *rig) placeHold(h *authz.Hold) {
	r.t.Helper()
	held, err := r.store.Authorize(r.t.Context(), h)
	must(r.t, err)
	if held.Denied != "" {
		r.t.Fatalf("call %s denied: %s", h.CallID, held.Denied)
	}
	r.m.Track(callOf(h, held), held)
}

// callOf is what the Authorizer tells its Tracker.
func callOf(h *authz.Hold, held authz.Held) authz.Call {
	return authz.Call{Key: h.Key, Account: h.Account, UID: held.UID, State: authz.StateHeld, Flags: h.Flags, Epoch: h.Epoch, Hash: h.Hash,
		Held: held.Units, UntilMS: held.UntilMS, CreatedAt: h.Now, ExpiresAt: held.ExpiresAt, Price: h.Price,
		MaxSeconds: h.Limits.MaxSeconds, Detail: h.Detail}
}

func (r *rig) event(typ authz.EventType, account, id string) authz.EventResult {
	r.t.Helper()
	res, err := r.m.Event(r.t.Context(), authz.Event{Type: typ, Key: key(id), Account: account})
	must(r.t, err)
	return res
}

func (r *rig) answer(account, id string) {
	r.t.Helper()
	if res := r.event(authz.EventAnswered, account, id); res.State != authz.StateLive {
		r.t.Fatalf("answered: %+v", res)
	}
}

// talk places a call and answers it.
func (r *rig) talk(account, id string) {
	r.t.Helper()
	r.place(account, id)
	r.answer(account, id)
}

func (r *rig) ended(account, id string) authz.Settlement {
	r.t.Helper()
	res := r.event(authz.EventEnded, account, id)
	if res.Kept {
		r.t.Fatalf("end of %s was kept", id)
	}
	return res.Settlement
}

// read gives a call as Redis has it.
func (r *rig) read(account, id string) authz.Call {
	r.t.Helper()
	c, err := r.store.Call(r.t.Context(), account, key(id))
	must(r.t, err)
	return c
}

func (r *rig) balance(account string) authz.Balance {
	r.t.Helper()
	b, err := r.store.Balance(r.t.Context(), account)
	must(r.t, err)
	if b.Available+b.Held+b.Settled != b.Granted {
		r.t.Errorf("credit of %s is not conserved: %+v", account, b)
	}
	return b
}

// metric gives a counter's or gauge's value; labels as "label=value".
func (r *rig) metric(name string, labels ...string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	must(r.t, err)
	for _, f := range families {
		if f.GetName() != "ringfence_meter_"+name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for _, want := range labels {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName()+"="+l.GetValue() == want
				}
				if !found {
					continue metrics
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// wait lets time pass in the bubble until everybody rests.
func (r *rig) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// pass lets the bubble's time pass for one of its goroutines.
func pass(d time.Duration) { <-time.After(d) }

// fakeSwitch is a switch in the bubble; each thing it is told is noted with the
// second since the start of the rig's time.
type fakeSwitch struct {
	mu      sync.Mutex
	m       *meter.Meter
	start   time.Time
	told    []string
	fail    error
	gone    bool // it takes hang-ups and reports no end
	account string
}

func (f *fakeSwitch) base() *fakeSwitch { return f }
func (f *fakeSwitch) bind(m *meter.Meter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m = m
	if f.start.IsZero() {
		f.start = time.Now()
	}
}

func (f *fakeSwitch) note(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.Since(f.start).Round(100 * time.Millisecond)
	f.told = append(f.told, at.String()+" "+what)
	return f.fail
}

func (f *fakeSwitch) Hangup(ctx context.Context, k authz.Key, reason string) error {
	if err := f.note("hangup " + k.CallID + " " + reason); err != nil {
		return err
	}
	f.mu.Lock()
	m, gone, account := f.m, f.gone, f.account
	f.mu.Unlock()
	if gone {
		return nil
	}
	ev := authz.Event{Type: authz.EventEnded, Key: k, Account: account, Cause: "31"}
	if _, err := m.Event(ctx, ev); errors.Is(err, authz.ErrNotAnswered) {
		ev.NeverAnswered = true
		_, err = m.Event(ctx, ev)
		return err
	}
	return nil
}

func (f *fakeSwitch) Warn(_ context.Context, k authz.Key, left int64) error {
	return f.note("warn " + k.CallID + " " + strconv.FormatInt(left, 10))
}

func (f *fakeSwitch) set(change func(*fakeSwitch)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeSwitch) heard() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.told, "\n")
}

// extending can arm its dead-man timers again.
type extending struct{ *fakeSwitch }

func (f extending) Extend(_ context.Context, k authz.Key, s int64) error {
	return f.note("extend " + k.CallID + " " + strconv.FormatInt(s, 10))
}

// listing can say which calls it has.
type listing struct {
	*fakeSwitch
	calls *[]string // nil: it does not answer
}

func (f listing) List(context.Context) ([]authz.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *f.calls == nil {
		return nil, errors.New("no answer")
	}
	var keys []authz.Key
	for _, id := range *f.calls {
		keys = append(keys, authz.Key{Direction: authz.Outbound, CallID: id})
	}
	return keys, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func (r *rig) records() []authz.Record { return r.store.records(r.t) }
