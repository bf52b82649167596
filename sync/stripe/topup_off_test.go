package stripe_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// charged wants so many payments of cards.
func (r *rig) charged(want int) {
	r.t.Helper()
	if n := len(r.fake.Objects("charge")); n != want {
		r.t.Errorf("cards were charged %d times, want %d", n, want)
	}
}

// Money goes back: the card that paid is not charged for it again.
func TestTopUpAfterPayback(t *testing.T) {
	for name, back := range map[string]func(*rig, string) error{
		"refund":  func(r *rig, session string) error { _, err := r.fake.Refund(session, 0); return err },
		"dispute": func(r *rig, session string) error { _, err := r.fake.Dispute(session, 0); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			zeta, _ := r.saved(s, "zeta", stripefake.CardVisa)
			r.topUp(s, acme)
			page, err := r.ledger.Purchases(t.Context(), acme, 1, 0)
			check(t, err)
			check(t, back(r, page[0].Session))
			r.spendable(acme, 0)
			u := r.until(acme, func(u ledger.TopUp) bool { return !u.Enabled })
			if u.Problem == "" {
				t.Errorf("top-up is %+v", u)
			}
			r.topUp(s, zeta)
			r.balances.spend(zeta, 90*minute)
			r.spendable(zeta, 210*minute) // a round that looks at both
			r.charged(3)
			r.topUp(s, acme) // the customer wants it again
			r.spendable(acme, 200*minute)
			r.charged(4)
		})
	}
}

// A top-up that Stripe kept waiting is not wanted any more when Stripe is back.
func TestTopUpCalledOff(t *testing.T) {
	for name, change := range map[string]func(*rig, *stripe.Service, string) error{
		"turned off": func(r *rig, s *stripe.Service, account string) error {
			_, err := s.SetTopUp(context.Background(), account, stripe.TopUpChange{})
			return err
		},
		"another amount": func(r *rig, s *stripe.Service, account string) error {
			_, err := s.SetTopUp(context.Background(), account, stripe.TopUpChange{Enabled: true, Below: minute, Units: 100 * minute})
			return err
		},
		"not low any more": func(r *rig, _ *stripe.Service, account string) error {
			_, _, err := r.ledger.AddGrant(context.Background(), authz.Grant{Account: account, Units: 1000 * minute, Kind: ledger.KindBonus, Reference: "sorry"})
			return err // nobody has applied it yet
		},
		"suspended": func(r *rig, _ *stripe.Service, account string) error {
			r.balances.suspend(account)
			return nil
		},
	} {
		for step, path := range map[string]string{"before its invoice": "/v1/invoices", "before its payment": "/v1/invoices/*/pay"} {
			t.Run(name+" "+step, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				s, _ := r.start()
				acme, _ := r.saved(s, "acme", stripefake.CardVisa)
				away := r.away(path)
				r.topUp(s, acme)
				r.balances.spend(acme, 90*minute)
				away.gaveUp()
				check(t, change(r, s, acme))
				away.back.Store(true)
				r.closed(acme)
				r.charged(1)
				u, err := s.TopUp(t.Context(), acme)
				check(t, err)
				if u.Declined != 0 || u.Problem != "" {
					t.Errorf("top-up is %+v", u)
				}
				for _, v := range r.fake.Objects("invoice") {
					if v["status"] == "open" || v["status"] == "draft" {
						t.Errorf("invoice %v is %v", v["id"], v["status"])
					}
				}
			})
		}
	}
}

// While the balance is not known, nothing is charged.
func TestTopUpWaitsForBalance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	away := r.away("/v1/invoices/*/pay")
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	away.gaveUp()
	r.balances.down(true)
	away.back.Store(true)
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.OpenTopUp(context.Background(), acme)
		if err == nil && p.Attempts < 2 {
			err = fmt.Errorf("looked at %d times", p.Attempts)
		}
		return err
	})
	r.charged(1)
	r.balances.down(false)
	r.spendable(acme, 210*minute)
	r.charged(2)
}

// The customer hears of a payment to confirm even if the sidecar fails in that moment; and setting the top-up anew gives
// that payment up, and charges the card as it is now.
func TestTopUpAwaiting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var mu sync.Mutex
	var told []string
	failures := 1
	r.ledger.OnNotice(func(_ context.Context, _ *ledger.Tx, n ledger.Notice) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case n.Event != ledger.NoticeTopUpFailed:
		case failures > 0:
			failures--
			return ledger.ErrUnavailable
		default:
			told = append(told, n.PayURL)
		}
		return nil
	})
	s, _ := r.start()
	acme, method := r.saved(s, "acme", stripefake.CardAlwaysAsks)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.PayURL != "" })
	mu.Lock()
	if len(told) != 1 || told[0] != u.PayURL {
		t.Errorf("told was %q, the page is %s", told, u.PayURL)
	}
	mu.Unlock()

	r.fake.SetCard(method, stripefake.Succeeds, stripefake.Succeeds)
	r.topUp(s, acme)
	r.spendable(acme, 210*minute)
	r.closed(acme)
	states := map[any]int{}
	for _, v := range r.fake.Objects("invoice") {
		states[v["status"]]++
	}
	if states["paid"] != 2 || states["void"] != 1 {
		t.Errorf("invoices are %v", states)
	}
}

// While the customer is awaited, calls that end raise the balance and others lower it: the payment stays the one to confirm.
func TestTopUpAwaitingStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardAlwaysAsks)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	was := r.until(acme, func(u ledger.TopUp) bool { return u.PayURL != "" })
	r.balances.spend(acme, -80*minute)
	seen, err := r.ledger.OpenTopUp(t.Context(), acme)
	check(t, err)
	services.Eventually(t, patience, func() error {
		p, err := r.ledger.OpenTopUp(context.Background(), acme)
		if err == nil && p.Attempts <= seen.Attempts {
			err = fmt.Errorf("looked at %d times", p.Attempts)
		}
		return err
	})
	r.balances.spend(acme, 80*minute)
	r.quiet()
	if now, err := s.TopUp(t.Context(), acme); err != nil || now.PayURL != was.PayURL {
		t.Errorf("top-up is %+v, %v", now, err)
	}
	if n := len(r.fake.Objects("invoice")); n != 2 {
		t.Errorf("%d invoices, want 2", n)
	}
}

// Details that Stripe refuses end a top-up that was committed, and the customer is told which.
func TestTopUpOfRefusedDetails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	away := r.away("/v1/invoices")
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	away.gaveUp()
	b, err := r.ledger.Billing(t.Context(), acme)
	check(t, err)
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Status: http.StatusBadRequest, Param: "email", Method: http.MethodPost, Path: "/v1/customers/*", Times: 100})
	b.Email = "odd@example.com"
	_, err = r.ledger.SetBilling(t.Context(), b)
	check(t, err)
	away.back.Store(true)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.Problem != "" })
	if !strings.Contains(u.Problem, "does not take this") {
		t.Errorf("top-up is %+v", u)
	}
	r.closed(acme)
	r.charged(1)
}

// Stripe finalizes or pays an invoice, and answers with an error of its own, which it repeats for the key; or it does
// nothing and repeats its error: the card is charged once, and the customer hears of no decline.
func TestTopUpBehindErrors(t *testing.T) {
	for _, path := range []string{"/finalize", "/pay"} {
		t.Run("done"+path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start(func(c *stripe.Config) { c.Transport = &doneAndFailed{next: r.next, path: path} })
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			r.topUp(s, acme)
			r.balances.spend(acme, 90*minute)
			r.spendable(acme, 210*minute)
			r.charged(2)
			if u, err := s.TopUp(t.Context(), acme); err != nil || u.Declined != 0 || u.Problem != "" {
				t.Errorf("top-up is %+v, %v", u, err)
			}
		})
		t.Run("kept"+path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			r.topUp(s, acme)
			r.fake.Inject(stripefake.Fault{Method: http.MethodPost, Path: "/v1/invoices/*" + path, Status: http.StatusInternalServerError, Keep: true})
			r.balances.spend(acme, 90*minute)
			r.spendable(acme, 210*minute)
			r.charged(2)
		})
	}
}

// doneAndFailed has Stripe work requests of a path and answer 500, the first key's always.
type doneAndFailed struct {
	next http.RoundTripper
	path string
	mu   sync.Mutex
	key  string
}

func (x *doneAndFailed) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := x.next.RoundTrip(req)
	if err != nil || req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, x.path) {
		return resp, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	key := req.Header.Get("Idempotency-Key")
	if x.key == "" {
		x.key = key
	}
	if x.key != key {
		return resp, nil
	}
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	const body = `{"error":{"type":"api_error","message":"An unknown error occurred"}}`
	resp.StatusCode, resp.Status = http.StatusInternalServerError, "500 Internal Server Error"
	resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
	return resp, nil
}

// Somebody archives the tax rate at Stripe: the top-up that has it ends, which is not the card's fault, and the next has
// another rate.
func TestTopUpWithArchivedRate(t *testing.T) {
	r := newRig(t)
	var later atomic.Int64
	s, _ := r.start(func(c *stripe.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	acme, _ := r.saved(s, "acme", stripefake.CardVisa)
	r.ask(http.MethodPost, "/v1/tax_rates/"+fmt.Sprint(r.fake.Objects("tax_rate")[0]["id"]), url.Values{"active": {"false"}})
	later.Store(int64(time.Hour)) // within the hour its key brings back the same
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.Declined == 1 })
	if strings.Contains(u.Problem, "card") {
		t.Errorf("the customer is told %q", u.Problem)
	}
	r.closed(acme)
	r.topUp(s, acme) // without the wait
	r.spendable(acme, 210*minute)
}
