package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

const hookURL, otherURL = "https://example.com/hook", "https://other.example.com/hook"

func testWebhooks(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	number, _, err := l.AddNumber(ctx, authz.Number{E164: "+31850835037", Account: a, Name: "Main line"})
	must(t, err)

	for name, w := range map[string]ledger.Webhook{
		"no URL":    {Account: a, Secret: "s"},
		"no secret": {Account: a, URL: hookURL},
		"long URL":  {Account: a, Secret: "s", URL: hookURL + strings.Repeat("x", 2000)},
		"NUL":       {Account: a, Secret: "s", URL: "https://\x00"},
	} {
		if _, err := l.SetWebhook(ctx, w); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = l.SetWebhook(ctx, ledger.Webhook{Account: "nobody", URL: hookURL, Secret: "s"})
	want(t, err, ledger.ErrNotFound)
	_, err = l.SetWebhook(ctx, ledger.Webhook{Account: b, NumberID: number.ID, URL: hookURL, Secret: "s"})
	want(t, err, ledger.ErrNotFound)
	_, err = l.Webhook(ctx, a, "")
	want(t, err, ledger.ErrNotFound)
	want(t, l.RemoveWebhook(ctx, a, ""), ledger.ErrNotFound)

	before, err := l.Revision(ctx)
	must(t, err)
	own, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: hookURL, Secret: "first"})
	must(t, err)
	its, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, NumberID: number.ID, URL: otherURL, Secret: "second"})
	must(t, err)
	all, err := l.Webhooks(ctx, a)
	must(t, err)
	diff(t, "webhooks", all, []ledger.Webhook{own, its})
	changes, err := l.Changes(ctx, before)
	must(t, err)
	if len(changes.Accounts) != 1 || !changes.Accounts[0].Value.Notify {
		t.Errorf("the directory is not told of the webhook: %+v", changes.Accounts)
	}

	// An update of the account leaves what follows from them.
	now, _, err := l.UpdateAccount(ctx, a, func(a *authz.Account) error { a.Company = "Another"; return nil })
	must(t, err)
	equal(t, "Notify after an update", now.Notify, true)
	must(t, l.RemoveWebhook(ctx, a, ""))
	must(t, l.RemoveWebhook(ctx, a, number.ID))
	got, err := l.Account(ctx, a)
	must(t, err)
	equal(t, "Notify without webhooks", got.Notify, false)
	_, err = l.Webhook(ctx, a, number.ID)
	want(t, err, ledger.ErrNotFound)
}

func testAlerts(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	_, err := l.Alerts(ctx, "nobody")
	want(t, err, ledger.ErrNotFound)
	none, err := l.Alerts(ctx, a)
	must(t, err)
	diff(t, "alerts of an account that never said", none, ledger.Alerts{Account: a})
	_, err = l.SetAlerts(ctx, ledger.Alerts{Account: a, Below: -1})
	want(t, err, ledger.ErrInvalid)

	set, err := l.SetAlerts(ctx, ledger.Alerts{Account: a, Below: 100 * credit.PerCredit, Email: true})
	must(t, err)
	got, err := l.Alerts(ctx, a)
	must(t, err)
	diff(t, "alerts", got, set)
	acct, err := l.Account(ctx, a)
	must(t, err)
	equal(t, "AlertBelow", acct.AlertBelow, 100*credit.PerCredit)

	// Each crossing is told once, whoever finds it, until it is armed again.
	crossed := func(fn func(*ledger.Tx) (bool, error)) bool {
		t.Helper()
		var first bool
		must(t, l.Update(ctx, func(tx *ledger.Tx) (err error) { first, err = fn(tx); return err }))
		return first
	}
	low := func(tx *ledger.Tx) (bool, error) { return tx.FellLow(ctx, a) }
	out := func(tx *ledger.Tx) (bool, error) { return tx.RanOut(ctx, a) }
	rearm := func(low, exhausted bool) {
		t.Helper()
		must(t, l.Update(ctx, func(tx *ledger.Tx) error { return tx.Rearm(ctx, a, low, exhausted) }))
	}
	var firsts atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if crossed(low) {
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	equal(t, "told of low credit", firsts.Load(), 1)
	equal(t, "used up", crossed(out), true)
	equal(t, "used up again", crossed(out), false)
	rearm(false, true)
	equal(t, "low, not armed", crossed(low), false)
	equal(t, "used up, armed", crossed(out), true)
	rearm(true, false)
	equal(t, "low, armed", crossed(low), true)
	same, err := l.SetAlerts(ctx, set)
	must(t, err)
	if same.LowAt.IsZero() || same.ExhaustedAt.IsZero() {
		t.Errorf("the same threshold again armed: %+v", same)
	}
	moved, err := l.SetAlerts(ctx, ledger.Alerts{Account: a, Below: 50 * credit.PerCredit})
	must(t, err)
	if !moved.LowAt.IsZero() || moved.Email {
		t.Errorf("another threshold: %+v", moved)
	}
	// Without a threshold nothing is low; credit runs out all the same.
	b := account(t, l)
	equal(t, "low without a threshold", crossed(func(tx *ledger.Tx) (bool, error) { return tx.FellLow(ctx, b) }), false)
	equal(t, "used up without alerts", crossed(func(tx *ledger.Tx) (bool, error) { return tx.RanOut(ctx, b) }), true)
}

// Grants are told of in their own transaction: where telling fails, nothing is granted.
func testGrantNotice(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	var told []ledger.Notice
	failure := errors.New("not told")
	var fails bool
	l.OnNotice(func(_ context.Context, tx *ledger.Tx, n ledger.Notice) error {
		if fails {
			return failure
		}
		told = append(told, n)
		return nil
	})
	g := authz.Grant{Account: a, Units: 7, Kind: ledger.KindBonus, Reference: "one"}
	_, _, err := l.AddGrant(ctx, g)
	must(t, err)
	_, _, err = l.AddGrant(ctx, g)
	must(t, err)
	if len(told) != 1 || told[0].Event != ledger.NoticeCreditsAdded || told[0].Grant == nil || told[0].Grant.Number != 1 {
		t.Errorf("told %+v", told)
	}
	fails = true
	_, _, err = l.AddGrant(ctx, authz.Grant{Account: a, Units: 7, Kind: ledger.KindBonus, Reference: "two"})
	want(t, err, failure)
	equal(t, "granted", totals(t, l, a).Granted, 7)
}

// delivery makes one for an account; n tells it from others.
func delivery(account, endpoint, topic string, n int) ledger.Delivery {
	return ledger.Delivery{ID: uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s %s %d", account, topic, n)), Account: account, Endpoint: endpoint,
		Topic: topic, Event: fmt.Sprintf("event-%d", n), Body: fmt.Appendf(nil, `{"n":%d}`, n)}
}

func enqueue(t testing.TB, l *ledger.Ledger, all ...ledger.Delivery) (added int64) {
	t.Helper()
	must(t, l.Update(t.Context(), func(tx *ledger.Tx) (err error) {
		added, err = tx.Enqueue(t.Context(), all)
		return err
	}))
	return added
}

// names are the topics and events of deliveries.
func names(all []ledger.Delivery) []string {
	out := make([]string, len(all))
	for i, d := range all {
		out[i] = d.Topic + " " + d.Event
	}
	return out
}

func testDeliveries(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	_, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: hookURL, Secret: "first"})
	must(t, err)
	err = l.Update(ctx, func(tx *ledger.Tx) error {
		_, err := tx.Enqueue(ctx, []ledger.Delivery{{ID: uuid.New(), Account: a, Event: "x"}})
		return err
	})
	want(t, err, ledger.ErrInvalid)

	one, two, three := delivery(a, hookURL, "call", 1), delivery(a, hookURL, "call", 2), delivery(a, hookURL, "", 3)
	equal(t, "added", enqueue(t, l, one, two, three), 3)
	equal(t, "added again", enqueue(t, l, two, one), 0)
	now := time.Now().Add(time.Hour)
	due, err := l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: hookURL}, now, 10)
	must(t, err)
	diff(t, "due", names(due), []string{"call event-1", "call event-2", " event-3"})
	if d := due[0]; d.ID != one.ID || d.Secret != "first" || string(d.Body) != `{"n":1}` || d.State != ledger.DeliveryPending || d.CreatedAt.IsZero() || d.Since != d.CreatedAt {
		t.Errorf("a due delivery is %+v", d)
	}

	// One that waits for its next attempt holds up those of its topic, and no other.
	d := due[0]
	d.Attempts, d.Due, d.Error = 1, now.Add(time.Minute), "no \x00 answer"
	must(t, l.NoteDeliveries(ctx, []ledger.Delivery{d}))
	due, err = l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: hookURL}, now, 10)
	must(t, err)
	diff(t, "due beside one that waits", names(due), []string{" event-3"})
	must(t, l.Hasten(ctx, ledger.Lane{Account: a, Endpoint: hookURL}, now))
	due, err = l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: hookURL}, now, 10)
	must(t, err)
	equal(t, "due after haste", len(due), 3)
	equal(t, "attempts", due[0].Attempts, 1)

	// Delivered and given up.
	due[0].State, due[0].DoneAt = ledger.DeliveryDelivered, now
	due[2].State, due[2].DoneAt, due[2].Error = ledger.DeliveryDead, now, "too old"
	must(t, l.NoteDeliveries(ctx, due))
	page, total, err := l.Deliveries(ctx, a, ledger.DeliveryDead, 10, 0)
	must(t, err)
	if total != 1 || len(page) != 1 || page[0].Error != "too old" || page[0].Secret != "" {
		t.Errorf("dead letters: %+v, %d", page, total)
	}
	page, total, err = l.Deliveries(ctx, "", "", 2, 1)
	must(t, err)
	equal(t, "total", total, 3)
	diff(t, "page", names(page), []string{"call event-2", "call event-1"})
	q, err := l.QueueDepth(ctx)
	must(t, err)
	if q.Pending != 1 || q.Dead != 1 || q.Oldest.IsZero() {
		t.Errorf("queue is %+v", q)
	}

	// Replayed, to where the webhook is by then.
	want(t, l.Replay(ctx, two.ID), ledger.ErrConflict)
	want(t, l.Replay(ctx, uuid.New()), ledger.ErrNotFound)
	_, err = l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: otherURL, Secret: "second"})
	must(t, err)
	n, err := l.ReplayDead(ctx, a)
	must(t, err)
	equal(t, "replayed", n, 1)
	must(t, l.Replay(ctx, one.ID))
	due, err = l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: otherURL}, time.Now().Add(time.Second), 10)
	must(t, err)
	diff(t, "due at the new URL", names(due), []string{"call event-1", "call event-2", " event-3"})
	equal(t, "secret", due[0].Secret, "second")
	due, err = l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: hookURL}, now, 10)
	must(t, err)
	equal(t, "left at the old URL", len(due), 0)

	// E-mail stays where it goes.
	letter := delivery(a, "mailto:billing@example.com", a, 4)
	enqueue(t, l, letter)
	must(t, l.RemoveWebhook(ctx, a, ""))
	got, err := l.Delivery(ctx, two.ID)
	must(t, err)
	equal(t, "state without a webhook", got.State, ledger.DeliveryDead)
	got, err = l.Delivery(ctx, letter.ID)
	must(t, err)
	equal(t, "state of e-mail", got.State, ledger.DeliveryPending)

	dropped, err := l.DropDeliveries(ctx, time.Now().Add(time.Hour), time.Time{}, 1)
	must(t, err)
	equal(t, "dropped of none delivered", dropped, 0)
	dropped, err = l.DropDeliveries(ctx, time.Time{}, time.Now().Add(time.Hour), 2)
	must(t, err)
	equal(t, "dropped dead letters", dropped, 3)
	_, err = l.Delivery(ctx, one.ID)
	want(t, err, ledger.ErrNotFound)
}

func testEndpoints(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	hook := ledger.Lane{Account: a, Endpoint: hookURL}
	now := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond) // however slow the machine is
	ready := func(at time.Time) []string {
		t.Helper()
		lanes, err := l.ReadyEndpoints(ctx, at, false, 10)
		must(t, err)
		var names []string
		for _, of := range lanes {
			names = append(names, of.Endpoint)
		}
		return names
	}
	equal(t, "ready without deliveries", len(ready(now)), 0)
	enqueue(t, l, delivery(a, otherURL, "", 1), delivery(a, hookURL, "", 2), delivery(a, hookURL, "", 3))
	diff(t, "ready, the one with the oldest first", ready(now), []string{otherURL, hookURL})

	// One at a time has an endpoint.
	var got atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			_, ok, err := l.LeaseEndpoint(ctx, hook, fmt.Sprintf("sidecar-%d", i), now, now.Add(time.Minute))
			if err != nil {
				t.Error(err)
			}
			if ok {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	equal(t, "leases", got.Load(), 1)
	diff(t, "ready beside a lease", ready(now), []string{otherURL})
	diff(t, "ready after a lease", ready(now.Add(time.Minute)), []string{otherURL, hookURL})
	for i := range 4 {
		must(t, l.FreeEndpoints(ctx, fmt.Sprintf("sidecar-%d", i)))
	}
	equal(t, "ready again", len(ready(now)), 2)

	// The breaker holds back who comes next.
	e, ok, err := l.LeaseEndpoint(ctx, hook, "me", now, now.Add(time.Minute))
	must(t, err)
	equal(t, "leased", ok, true)
	e.Failures, e.OpenUntil = 5, now.Add(10*time.Second)
	must(t, l.NoteEndpoint(ctx, e, "another")) // who has no lease says nothing
	must(t, l.NoteEndpoint(ctx, e, "me"))
	must(t, l.FreeEndpoint(ctx, hook, "me", now))
	diff(t, "ready beside an open breaker", ready(now), []string{otherURL})
	_, ok, err = l.LeaseEndpoint(ctx, hook, "me", now, now.Add(time.Minute))
	must(t, err)
	equal(t, "leased with an open breaker", ok, false)
	e2, ok, err := l.LeaseEndpoint(ctx, hook, "me", now.Add(10*time.Second), now.Add(time.Minute))
	must(t, err)
	equal(t, "leased for a probe", ok, true)
	diff(t, "endpoint", e2, e)
	must(t, l.FreeEndpoint(ctx, hook, "me", now))

	n, err := l.GiveUp(ctx, hook, now.Add(-2*time.Hour), "too long")
	must(t, err)
	equal(t, "given up too early", n, 0)
	n, err = l.GiveUp(ctx, hook, now, "too long")
	must(t, err)
	equal(t, "given up", n, 2)
	diff(t, "ready in the end", ready(now.Add(time.Hour)), []string{otherURL})

	// A webhook that is set anew is tried at once.
	enqueue(t, l, delivery(a, hookURL, "", 4))
	equal(t, "ready with an open breaker", len(ready(now)), 1)
	_, err = l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: hookURL, Secret: "s"})
	must(t, err)
	diff(t, "ready after it was set", ready(now), []string{hookURL})
}

// What a transaction can look up to tell customers.
func testNoticeReading(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b, c := account(t, l), account(t, l), account(t, l)
	number, _, err := l.AddNumber(ctx, authz.Number{E164: "+31850835037", Account: a, Name: "Main line"})
	must(t, err)
	removed, _, err := l.RemoveNumber(ctx, number.E164)
	must(t, err)
	own, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: hookURL, Secret: "first"})
	must(t, err)
	_, err = l.SetWebhook(ctx, ledger.Webhook{Account: a, NumberID: number.ID, URL: hookURL, Secret: "second"})
	want(t, err, ledger.ErrNotFound) // it is out of use
	alerts, err := l.SetAlerts(ctx, ledger.Alerts{Account: b, Below: 5})
	must(t, err)
	known := call(a, noon, 60)
	ingest(t, l, known)
	_, err = l.SetBilling(ctx, ledger.Billing{Account: b, Company: "Your Company", Email: "bills@example.com", Country: "NL"})
	must(t, err)
	must(t, l.Update(ctx, func(tx *ledger.Tx) error {
		hooks, err := tx.WebhooksOf(ctx, []string{a, b, "nobody"})
		must(t, err)
		diff(t, "webhooks", hooks, map[string]map[string]ledger.Webhook{a: {"": own}})
		wanted, err := tx.AlertsOf(ctx, []string{a, b})
		must(t, err)
		diff(t, "alerts", wanted, map[string]ledger.Alerts{b: alerts})
		numbers, err := tx.NumbersOf(ctx, []string{number.ID, "none"})
		must(t, err)
		diff(t, "numbers", numbers, map[string]authz.Number{number.ID: removed})
		none, err := tx.NumbersOf(ctx, nil)
		must(t, err)
		equal(t, "numbers of no ids", len(none), 0)
		states, err := tx.KnownCalls(ctx, []uuid.UUID{known.UID, uuid.New()})
		must(t, err)
		diff(t, "known calls", states, map[uuid.UUID]authz.State{known.UID: authz.StateSettled})
		locked, err := tx.LockAccount(ctx, a)
		must(t, err)
		equal(t, "settled", locked.Settled, known.Charged())
		several, err := tx.LockAccounts(ctx, []string{a, b, "nobody"})
		must(t, err)
		if len(several) != 2 || several[a] != locked {
			t.Errorf("locked %+v", several)
		}
		got, err := tx.Account(ctx, a)
		must(t, err)
		equal(t, "account", got.ID, a)
		for account, email := range map[string]string{b: "bills@example.com", c: "billing@example.com", "nobody": ""} {
			found, err := tx.BillingEmail(ctx, account)
			must(t, err)
			equal(t, "billing address", found, email)
		}
		return nil
	}))
}
