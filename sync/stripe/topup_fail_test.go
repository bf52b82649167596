package stripe_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// asked does something when a top-up asks for an account's customer: after its balance was looked at, before anything
// is committed.
type asked struct {
	stripe.Customers
	do func(account string) error
}

func (a asked) Customer(ctx context.Context, account string) (ledger.Billing, error) {
	if err := a.do(account); err != nil {
		return ledger.Billing{}, err
	}
	return a.Customers.Customer(ctx, account)
}

// closed waits until an account has no top-up under way, and quiet.
func (r *rig) closed(account string) {
	r.t.Helper()
	services.Eventually(r.t, patience, func() error {
		p, err := r.ledger.OpenTopUp(context.Background(), account)
		if err == nil {
			return fmt.Errorf("top-up %+v is open", p)
		}
		if !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		return nil
	})
	r.quiet()
}

// What changes between the look at the balance and the purchase counts: nothing is charged.
func TestTopUpNotDueAnyMore(t *testing.T) {
	for name, change := range map[string]func(*rig, string) error{
		"turned off": func(r *rig, account string) error {
			_, err := r.ledger.ChangeTopUp(context.Background(), account, func(u *ledger.TopUp) error { u.Enabled = false; return nil })
			return err
		},
		"declined elsewhere": func(r *rig, account string) error {
			_, err := r.ledger.ChangeTopUp(context.Background(), account, func(u *ledger.TopUp) error { u.Decline(time.Now(), "declined"); return nil })
			return err
		},
		"credited": func(r *rig, account string) error {
			_, _, err := r.ledger.AddGrant(context.Background(), authz.Grant{Account: account, Units: 200 * minute, Kind: ledger.KindPurchase, Reference: "another"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, stop := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			zeta, _ := r.saved(s, "zeta", stripefake.CardVisa)
			stop()
			r.topUp(s, acme)
			r.topUp(s, zeta)
			r.balances.spend(acme, 90*minute)
			r.balances.spend(zeta, 90*minute)
			var once sync.Once
			r.start(func(c *stripe.Config) {
				c.Customers = asked{c.Customers, func(account string) (err error) {
					if account == acme {
						once.Do(func() { err = change(r, acme) })
					}
					return err
				}}
			})
			r.spendable(zeta, 210*minute) // the next one in the round
			if n := len(r.fake.Objects("invoice")); n != 3 {
				t.Errorf("%d invoices, want 3", n)
			}
		})
	}
}

// A top-up that cannot be started waits, and does not try each round; the customer is told once of what the customer can
// mend, and with that mended it goes on.
func TestTopUpNotStarted(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		told string
		mail int64
	}{
		"address": {&ledger.FieldError{Field: "country", Message: "Give your address first."}, "Give your address first.", 1},
		"outage":  {stripe.ErrUnavailable, "The top-up could not be started. It is tried again.", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var mails, calls atomic.Int64
			r.ledger.OnNotice(func(_ context.Context, _ *ledger.Tx, n ledger.Notice) error {
				if n.Event == ledger.NoticeTopUpFailed {
					mails.Add(1)
				}
				return nil
			})
			var broken atomic.Bool
			s, _ := r.start(func(cfg *stripe.Config) {
				cfg.Customers = asked{cfg.Customers, func(string) error {
					if !broken.Load() {
						return nil
					}
					calls.Add(1)
					return c.err
				}}
			})
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			broken.Store(true)
			r.topUp(s, acme)
			r.balances.spend(acme, 90*minute)
			again := func() {
				_, err := r.ledger.ChangeTopUp(t.Context(), acme, func(u *ledger.TopUp) error { u.NotBefore = time.Time{}; return nil })
				check(t, err)
			}
			for n := range int64(2) {
				u := r.until(acme, func(u ledger.TopUp) bool { return u.NotBefore.After(time.Now()) })
				if wait := time.Until(u.NotBefore); u.Problem != c.told || !u.Enabled || wait < 50*time.Second || wait > 2*time.Minute {
					t.Errorf("top-up is %+v", u)
				}
				if calls.Load() != n+1 || mails.Load() != c.mail {
					t.Errorf("%d tries and %d mails, want %d and %d", calls.Load(), mails.Load(), n+1, c.mail)
				}
				if n == 1 {
					broken.Store(false)
				}
				again()
			}
			r.spendable(acme, 210*minute)
			r.until(acme, func(u ledger.TopUp) bool { return u.Problem == "" && u.NotBefore.IsZero() })
		})
	}
}

// The answer to the voiding is lost: the wait counts all the same, so that nothing is charged again at once.
func TestTopUpDeclinedAndVoidLost(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardFailsLater)
	r.fake.Inject(stripefake.Fault{Kind: stripefake.Lose, Method: http.MethodPost, Path: "/v1/invoices/*/void", Times: 8})
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	u := r.until(acme, func(u ledger.TopUp) bool { return u.Declined > 0 })
	r.closed(acme)
	if wait := time.Until(u.NotBefore); u.Declined != 1 || wait < 50*time.Minute {
		t.Errorf("top-up is %+v", u)
	}
	if n := len(r.fake.Objects("invoice")); n != 2 {
		t.Errorf("%d invoices, want 2", n)
	}
}

// Stripe does not accept the key, or not for this: that is no decline.
func TestTopUpWithBadKey(t *testing.T) {
	for _, path := range []string{"/v1/invoices", "/v1/invoices/*/pay"} {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			t.Run(fmt.Sprint(path, status), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				s, _ := r.start()
				acme, _ := r.saved(s, "acme", stripefake.CardVisa)
				r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodPost, Path: path, Status: status})
				r.topUp(s, acme)
				r.balances.spend(acme, 90*minute)
				r.spendable(acme, 210*minute)
				r.quiet()
				u, err := s.TopUp(t.Context(), acme)
				if err != nil || u.Declined != 0 || u.Problem != "" {
					t.Errorf("top-up is %+v, %v", u, err)
				}
				if n := len(r.fake.Objects("invoice")); n != 2 {
					t.Errorf("%d invoices, want 2", n)
				}
			})
		}
	}
}

// Stripe refuses a step: no invoice is left that somebody could finalize and pay.
func TestTopUpRefused(t *testing.T) {
	for _, path := range []string{"/v1/invoiceitems", "/v1/invoices/*/finalize"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			s, _ := r.start()
			acme, _ := r.saved(s, "acme", stripefake.CardVisa)
			r.fake.Inject(stripefake.Fault{Kind: stripefake.Refuse, Method: http.MethodPost, Path: path, Status: http.StatusBadRequest})
			r.topUp(s, acme)
			r.balances.spend(acme, 90*minute)
			r.until(acme, func(u ledger.TopUp) bool { return u.Declined == 1 })
			r.closed(acme)
			if n := len(r.fake.Objects("invoice")); n != 1 {
				t.Errorf("%d invoices, want 1", n)
			}
		})
	}
}

// Somebody marks the invoice as paid otherwise: it is for the operator, and does not hinder later top-ups for ever.
func TestTopUpPaidOutsideStaysListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s, _ := r.start()
	acme, _ := r.saved(s, "acme", stripefake.CardAlwaysAsks)
	r.topUp(s, acme)
	r.balances.spend(acme, 90*minute)
	r.until(acme, func(u ledger.TopUp) bool { return u.PayURL != "" })
	open, err := r.ledger.OpenTopUp(t.Context(), acme)
	check(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/invoices/"+open.Invoice+"/pay", strings.NewReader("paid_out_of_band=true"))
	check(t, err)
	req.Header.Set("Authorization", "Bearer "+stripefake.Key)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := r.next.RoundTrip(req)
	check(t, err)
	check(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	r.closed(acme)
	u, err := s.TopUp(t.Context(), acme)
	check(t, err)
	if u.Declined != 1 || u.Problem != "Something went wrong on our side." || u.PayURL != "" || !u.NotBefore.After(time.Now()) {
		t.Errorf("top-up is %+v", u)
	}
	if aside, err := r.ledger.PurchasesAside(t.Context(), 10); err != nil || len(aside) != 1 || aside[0].State != ledger.PurchaseFailed {
		t.Errorf("aside are %+v, %v", aside, err)
	}
	if g := r.granted(acme); g != 100*minute {
		t.Errorf("granted %d", g)
	}
}
