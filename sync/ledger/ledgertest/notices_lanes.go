package ledgertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// An endpoint is ready only for what can be tried: the rest of a topic waits for its first.
func testReadyBehindFailure(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	hook := ledger.Lane{Account: a, Endpoint: hookURL}
	now := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	ready := func(at time.Time) int {
		t.Helper()
		lanes, err := l.ReadyEndpoints(ctx, at, false, 10)
		must(t, err)
		return len(lanes)
	}
	enqueue(t, l, delivery(a, hookURL, "call", 1), delivery(a, hookURL, "call", 2), delivery(a, hookURL, "call", 3))
	due, err := l.DueDeliveries(ctx, hook, now, 10)
	must(t, err)
	due[0].Attempts, due[0].Due = 1, now.Add(time.Minute)
	must(t, l.NoteDeliveries(ctx, due[:1]))
	equal(t, "ready while the first waits", ready(now), 0)
	equal(t, "ready when the first is due", ready(now.Add(time.Minute)), 1)
	enqueue(t, l, delivery(a, hookURL, "", 4))
	equal(t, "ready for something without a topic", ready(now), 1)
}

// Accounts that share an endpoint share neither its lease nor its breaker, and who waits longest is next. E-mail is
// looked for by itself.
func testLanes(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a, b := account(t, l), account(t, l)
	of, other := ledger.Lane{Account: a, Endpoint: hookURL}, ledger.Lane{Account: b, Endpoint: hookURL}
	now := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	ready := func(at time.Time, mail bool) []ledger.Lane {
		t.Helper()
		lanes, err := l.ReadyEndpoints(ctx, at, mail, 10)
		must(t, err)
		return lanes
	}
	lease := func(lane ledger.Lane) ledger.Endpoint {
		t.Helper()
		e, ok, err := l.LeaseEndpoint(ctx, lane, "me", now, now.Add(time.Minute))
		must(t, err)
		equal(t, "leased", ok, true)
		return e
	}
	enqueue(t, l, delivery(a, hookURL, "", 1), delivery(b, hookURL, "", 2), delivery(a, "mailto:billing@example.com", a, 3))
	diff(t, "ready", ready(now, false), []ledger.Lane{of, other})
	diff(t, "ready e-mail", ready(now, true), []ledger.Lane{{Account: a, Endpoint: "mailto:billing@example.com"}})
	due, err := l.DueDeliveries(ctx, other, now, 10)
	must(t, err)
	diff(t, "due of one account", names(due), []string{" event-2"})

	lease(of)
	diff(t, "ready beside another's lease", ready(now, false), []ledger.Lane{other})
	lease(other)
	must(t, l.FreeEndpoint(ctx, other, "me", now.Add(time.Second)))
	must(t, l.FreeEndpoint(ctx, of, "me", now.Add(2*time.Second)))
	diff(t, "ready in turn", ready(now, false), []ledger.Lane{other, of})

	e := lease(of)
	e.Failures, e.OpenUntil = 5, now.Add(time.Hour)
	must(t, l.NoteEndpoint(ctx, e, "me"))
	must(t, l.FreeEndpoint(ctx, of, "me", now))
	diff(t, "ready beside another's breaker", ready(now, false), []ledger.Lane{other})
	n, err := l.GiveUp(ctx, of, now, "too long")
	must(t, err)
	equal(t, "given up", n, 1)
	diff(t, "ready after another's were given up", ready(now, false), []ledger.Lane{other})

	// What nothing waits for is forgotten, unless somebody works on it.
	dropped, err := l.DropEndpoints(ctx, now)
	must(t, err)
	equal(t, "endpoints dropped", dropped, 1)
	lease(other)
	_, err = l.GiveUp(ctx, other, now, "too long")
	must(t, err)
	dropped, err = l.DropEndpoints(ctx, now)
	must(t, err)
	equal(t, "leased endpoints dropped", dropped, 0)
	must(t, l.FreeEndpoint(ctx, other, "me", now))
	dropped, err = l.DropEndpoints(ctx, now)
	must(t, err)
	equal(t, "freed endpoints dropped", dropped, 1)
}

// What is queued while its webhook moves goes along: who changes the webhook waits for who queues, or is seen by it.
func testMoveInFlight(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	_, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: hookURL, Secret: "s"})
	must(t, err)
	moved := make(chan error, 1)
	var once sync.Once
	must(t, l.Update(ctx, func(tx *ledger.Tx) error {
		hooks, err := tx.WebhooksOf(ctx, []string{a})
		if err != nil {
			return err
		}
		once.Do(func() {
			go func() {
				_, err := l.SetWebhook(ctx, ledger.Webhook{Account: a, URL: otherURL, Secret: "s"})
				moved <- err
			}()
			select { // one that does not wait is over by then
			case err := <-moved:
				moved <- err
			case <-time.After(500 * time.Millisecond):
			}
		})
		_, err = tx.Enqueue(ctx, []ledger.Delivery{delivery(a, hooks[a][""].URL, "", 1)})
		return err
	}))
	must(t, <-moved)
	due, err := l.DueDeliveries(ctx, ledger.Lane{Account: a, Endpoint: otherURL}, time.Now().Add(time.Hour), 10)
	must(t, err)
	diff(t, "due at the new URL", names(due), []string{" event-1"})
}

// Low credit is e-mailed once an hour, however often the threshold moves; a top-up makes way for the next.
func testMailsLow(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	before := time.Now().Add(-time.Minute)
	for i, c := range []struct {
		within time.Duration
		rearm  bool
		want   bool
	}{{time.Hour, false, true}, {time.Hour, false, false}, {-time.Minute, false, true}, {time.Hour, true, true}} {
		_, err := l.SetAlerts(ctx, ledger.Alerts{Account: a, Below: credit.Units(100 + i), Email: true})
		must(t, err)
		must(t, l.Update(ctx, func(tx *ledger.Tx) error {
			if c.rearm {
				must(t, tx.Rearm(ctx, a, true, false))
			}
			mails, err := tx.MailsLow(ctx, a, c.within)
			equal(t, fmt.Sprintf("e-mail %d", i), mails, c.want)
			return err
		}))
	}
	since := func(at time.Time) (is bool) {
		must(t, l.Update(ctx, func(tx *ledger.Tx) (err error) { is, err = tx.GrantedSince(ctx, a, at); return err }))
		return is
	}
	equal(t, "granted without grants", since(before), false)
	_, _, err := l.AddGrant(ctx, authz.Grant{Account: a, Units: 7, Kind: ledger.KindBonus, Reference: "one"})
	must(t, err)
	equal(t, "granted", since(before), true)
	equal(t, "granted later", since(time.Now().Add(time.Minute)), false)
}
