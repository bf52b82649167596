package notify_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/notify"
)

const (
	// patience is how long a test waits for what should take no time.
	patience = 60 * time.Second
	secret   = "whsec_a-long-secret-of-a-test"
	acct     = "acme"
)

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	quiet    = slog.New(slog.DiscardHandler)
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// quick is a configuration whose pauses suit a test.
func quick() notify.Config {
	return notify.Config{Holder: "sidecar-1", Allow: loopback, Timeout: 5 * time.Second, Poll: 5 * time.Millisecond,
		Backoff: 20 * time.Millisecond, Cool: 50 * time.Millisecond}
}

// rig is a ledger with one account that has 500 credits, a number and a webhook at a receiver, and its notifier.
type rig struct {
	testing.TB
	*notify.Notifier
	ledger *ledger.Ledger
	number authz.Number
	hook   *receiver
	stop   func()
}

// newRig makes one. Its notifier runs only after run.
func newRig(t testing.TB, cfg notify.Config) *rig {
	t.Helper()
	return newRigOn(t, sqlitetest.Open(t), cfg)
}

func newRigOn(t testing.TB, l *ledger.Ledger, cfg notify.Config) *rig {
	t.Helper()
	ctx := t.Context()
	r := &rig{TB: t, ledger: l, hook: receive(t, secret)}
	_, _, err := l.CreateAccount(ctx, authz.Account{ID: acct, Company: "Your Company", Email: "billing@example.com", Status: authz.Active,
		Currency: "EUR", Tariff: "default", Language: "nl", TimeZone: "UTC"})
	must(t, err)
	_, _, err = l.AddGrant(ctx, authz.Grant{Account: acct, Units: 500 * credit.PerCredit, Kind: ledger.KindPurchase, Reference: "first"})
	must(t, err)
	r.number, _, err = l.AddNumber(ctx, authz.Number{E164: "+31850835037", Account: acct, Name: "Main line"})
	must(t, err)
	r.Notifier, err = notify.New(cfg, l, quiet, nil)
	must(t, err)
	r.set("", r.hook.URL)
	return r
}

// run starts the notifier; it stops with the test, or with r.stop.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() { cancel(); <-done }
	r.Cleanup(r.stop)
}

func (r *rig) set(numberID, url string) {
	r.Helper()
	must(r, r.SetWebhook(r.Context(), ledger.Webhook{Account: acct, NumberID: numberID, URL: url, Secret: secret}))
}

// ingest takes records in, as the outbox does.
func (r *rig) ingest(records ...authz.Record) {
	r.Helper()
	results, err := r.ledger.Ingest(r.Context(), records, r.Ended)
	must(r, err)
	for _, res := range results {
		if res.Err != nil {
			r.Fatal(res.Err)
		}
	}
}

func (r *rig) grant(minutes int64, reference string) {
	r.Helper()
	_, _, err := r.ledger.AddGrant(r.Context(), authz.Grant{Account: acct, Units: credit.Units(minutes) * credit.PerCredit, Kind: ledger.KindPurchase, Reference: reference})
	must(r, err)
}

// deliveries are all in the ledger, oldest first.
func (r *rig) deliveries() []ledger.Delivery {
	r.Helper()
	all, _, err := r.ledger.Deliveries(r.Context(), "", "", 100_000, 0)
	must(r, err)
	slices.Reverse(all)
	return all
}

// settled waits until nothing is pending.
func (r *rig) settled() {
	r.Helper()
	services.Eventually(r, patience, func() error {
		q, err := r.ledger.QueueDepth(r.Context())
		if err == nil && q.Pending > 0 {
			err = fmt.Errorf("%d deliveries are pending", q.Pending)
		}
		return err
	})
}

// soon is after everything granted so far, as a notice tells its time.
func soon() int64 { return time.Now().Add(time.Second).UnixMilli() }

// ended is when the tests' calls end.
var ended = time.Date(2025, 12, 13, 10, 0, 0, 0, time.UTC)

// call makes the record of a settled inbound call of so many seconds, at the base rate.
func (r *rig) call(seconds int64) authz.Record {
	uid := uuid.Must(uuid.NewV7())
	return authz.Record{State: authz.StateSettled, Account: acct, UID: uid, Seq: 1, Key: authz.Key{Switch: "sw1", Direction: authz.Inbound, CallID: uid.String()},
		At: ended.UnixMilli(), AnsweredAt: ended.UnixMilli() - 1000*seconds, TalkMS: 1000 * seconds, CreatedAt: ended.UnixMilli() - 1000*seconds - 5000,
		Units: credit.Units(1000 * seconds), Micros: credit.Micros((70_000*seconds + 59) / 60), Reason: "16",
		Price:  tariff.Price{Rate: credit.PerCredit, MicrosRate: 70_000, Initial: 1, Step: 1, CreditPrice: 70_000},
		Detail: authz.Detail{From: "+4930123456", To: r.number.E164, NumberID: r.number.ID, Currency: "EUR"}}
}

// as makes the record of a call that cost nothing.
func as(rec authz.Record, s authz.State, reason string) authz.Record {
	rec.State, rec.Reason, rec.AnsweredAt, rec.TalkMS, rec.Units, rec.Micros = s, reason, 0, 0, 0, 0
	return rec
}

// got is a message as a receiver got it.
type got struct {
	ID, Event string
	At        time.Time
	Raw       string
	Body      struct {
		Message map[string]any `json:"message"`
	}
}

func (g *got) call() (id, status string) {
	c, _ := g.Body.Message["call"].(map[string]any)
	id, _ = c["id"].(string)
	status, _ = c["status"].(string)
	return id, status
}

// String names a message by its event and status.
func (g *got) String() string {
	if _, status := g.call(); status != "" {
		return g.Event + " " + status
	}
	return g.Event
}

// receiver is a customer's server. It checks each message's form and signature.
type receiver struct {
	*httptest.Server
	t      testing.TB
	secret string

	mu  sync.Mutex
	all []got
	// answer is asked before a message counts as received; nil: 200.
	answer func(w http.ResponseWriter, g *got) (ok bool)
}

func receive(t testing.TB, secret string) *receiver {
	t.Helper()
	r := &receiver{t: t, secret: secret}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // a stopped notifier
	}
	h := q.Header
	g := got{ID: h.Get("X-Webhook-Id"), Event: h.Get("X-Webhook-Event"), Raw: string(body)}
	stamp := h.Get("X-Webhook-Timestamp")
	unix, err := strconv.ParseInt(stamp, 10, 64)
	if g.At = time.Unix(unix, 0); err != nil || time.Since(g.At).Abs() > time.Minute {
		r.t.Errorf("timestamp is %q", stamp)
	}
	if want := documented(r.secret, stamp+"."+string(body)); h.Get("X-Webhook-Signature") != want {
		r.t.Errorf("signature is %q, want %q", h.Get("X-Webhook-Signature"), want)
	}
	if q.Method != http.MethodPost || h.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s with %q", q.Method, h.Get("Content-Type"))
	}
	if err := json.Unmarshal(body, &g.Body); err != nil || g.Body.Message["type"] != g.Event {
		r.t.Errorf("body %s of event %s: %v", body, g.Event, err)
	}
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer != nil && !answer(w, &g) {
		return
	}
	r.mu.Lock()
	r.all = append(r.all, g)
	r.mu.Unlock()
}

// answers has the receiver answer otherwise.
func (r *receiver) answers(fn func(http.ResponseWriter, *got) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = fn
}

func (r *receiver) received() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// names are the messages received, by event and status.
func (r *receiver) names() []string {
	var out []string
	for _, g := range r.received() {
		out = append(out, g.String())
	}
	return out
}

// documented is the signature as the documentation has it, from SHA-256 alone (RFC 2104): it must not share the code
// that it proves.
func documented(secret, text string) string {
	const block = 64
	var inner, outer [block]byte
	copy(inner[:], secret)
	copy(outer[:], secret)
	for i := range block {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	first := sha256.Sum256(append(inner[:], text...))
	second := sha256.Sum256(append(outer[:], first[:]...))
	return "sha256=" + hex.EncodeToString(second[:])
}

// wait waits until the receiver got these messages, in this order, and no other.
func (r *receiver) wait(want ...string) {
	r.t.Helper()
	services.Eventually(r.t, patience, func() error {
		if names := r.names(); !slices.Equal(names, want) {
			return fmt.Errorf("received %s, want %s", strings.Join(names, ", "), strings.Join(want, ", "))
		}
		return nil
	})
}

type configOf = notify.Config

var discardLog = log.New(io.Discard, "", 0)

// notifier makes one more on a ledger.
func notifier(t testing.TB, cfg notify.Config, l *ledger.Ledger) *notify.Notifier {
	t.Helper()
	n, err := notify.New(cfg, l, quiet, nil)
	must(t, err)
	return n
}
