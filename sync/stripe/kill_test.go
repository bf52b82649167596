package stripe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
	"github.com/hmsovereign/ringfence/sync/stripe"
)

// freezer stops a sidecar for good at one moment, as a kill does: whatever it was about to do, it does not, until the
// test lets it go on, as a process that was only stopped would.
type freezer struct {
	at    int64 // the moment, counted; 0: never
	count atomic.Int64
	hit   chan struct{}
	thaw  chan struct{}
	once  sync.Once
}

func newFreezer(at int64) *freezer {
	return &freezer{at: at, hit: make(chan struct{}), thaw: make(chan struct{})}
}

// moment is one at which the sidecar may be killed. From then on nothing of it moves.
func (f *freezer) moment() {
	if n := f.count.Add(1); f.at > 0 && n >= f.at {
		f.once.Do(func() { close(f.hit) })
		<-f.thaw
	}
}

// freezing is the way to Stripe; a moment is after each answer. Before a request nothing is other than after the step
// before it.
type freezing struct {
	f    *freezer
	next http.RoundTripper
}

func (x freezing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := x.next.RoundTrip(req)
	if req.Method != http.MethodGet || req.URL.Path != "/v1/events" {
		x.f.moment()
	}
	return resp, err
}

// freezingDriver is the ledger's; a moment is after each transaction that has changed something.
type freezingDriver struct {
	ledger.Driver
	f *freezer
}

func (d freezingDriver) Write(ctx context.Context, fn func(ledger.Conn) error) error {
	c := &watched{}
	err := d.Driver.Write(ctx, func(to ledger.Conn) error {
		c.Conn, c.changed = to, false
		return fn(c)
	})
	if err == nil && c.changed {
		d.f.moment()
	}
	return err
}

// watched notes whether statements change something.
type watched struct {
	ledger.Conn
	changed bool
}

func (c *watched) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	n, err := c.Conn.Exec(ctx, sql, args...)
	c.changed = c.changed || n > 0
	return n, err
}

func (c *watched) Query(ctx context.Context, sql string, args []any, row func(ledger.Scanner) error) error {
	changes := !strings.HasPrefix(strings.TrimSpace(sql), "SELECT")
	return c.Conn.Query(ctx, sql, args, func(s ledger.Scanner) error {
		c.changed = c.changed || changes
		return row(s)
	})
}

// killed lets begin have a sidecar something to work, which f stops for good at its moment; another sidecar goes on until
// done is, and at last the first one wakes up. Webhooks reach a third one, which works nothing.
func (r *rig) killed(f *freezer, begin, done func()) {
	stop := r.run(r.shop(func(c *stripe.Config) {
		c.Transport, c.Claim, c.Poll = freezing{f, r.next}, time.Second, time.Hour
		c.Ledger = r.ledger.Over(func(d ledger.Driver) ledger.Driver { return freezingDriver{d, f} })
		c.Apply = func(ctx context.Context, account string) {
			r.balances.apply(ctx, account)
			f.moment()
		}
	}))
	thaw := sync.OnceFunc(func() { close(f.thaw) })
	defer func() {
		thaw()
		stop()
	}()
	r.hook(r.shop())
	begin()
	if f.at > 0 {
		select {
		case <-f.hit:
		case <-time.After(8 * time.Second):
			r.t.Log("it took fewer steps this time")
		}
		r.start()
	}
	done()
	r.quiet()
	thaw()
	r.quiet()
}

// The sidecar dies at each step between "Stripe took the money" and "the caller can spend it", and at each step of the
// refund after that. Another one goes on, and the dead one wakes up again: credited once, taken back once.
func TestKilledAtEachStep(t *testing.T) { eachStep(t, 10, killed) }

// eachStep runs what is stopped at a step: never first, which tells how many there are, then at each.
func eachStep(t *testing.T, least int64, stopped func(t *testing.T, at int64) int64) {
	steps := stopped(t, 0)
	if steps < least {
		t.Fatalf("it takes %d steps only", steps)
	}
	for at := int64(1); at <= steps; at++ {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			stopped(t, at)
		})
	}
}

// killed has a purchase and a refund worked by a sidecar that is killed at a step (0: never); it tells how many it took.
func killed(t *testing.T, at int64) int64 {
	r := newRig(t)
	acme := r.account("acme")
	made := r.buy(r.shop(), acme, 500)
	f := newFreezer(at)
	want := 500*minute - 500*minute*1412/4235
	r.killed(f, func() {
		r.pay(made)
		_, err := r.fake.Refund(made.Purchase.Session, 1412)
		check(t, err)
	}, func() { r.spendable(acme, want) })
	if g := r.granted(acme); g != want {
		t.Errorf("granted %d, want %d", g, want)
	}
	if grants, err := r.ledger.Grants(t.Context(), acme, 0, 0); err != nil || len(grants) != 2 {
		t.Errorf("grants are %+v, %v", grants, err)
	}
	return f.count.Load()
}

// Three sidecars, and every event five times in random order: sums right.
func TestRedelivered(t *testing.T) {
	t.Run("one process", func(t *testing.T) {
		r := newRig(t)
		testRedelivered(t, r, func() *ledger.Ledger { return r.ledger })
	})
	t.Run("Postgres", func(t *testing.T) {
		url := services.SharedDatabase(t)
		open := func() *ledger.Ledger {
			l, err := postgres.Open(t.Context(), postgres.Config{URL: url})
			check(t, err)
			t.Cleanup(func() { check(t, l.Close()) })
			return l
		}
		l := open()
		check(t, l.Migrate(t.Context()))
		testRedelivered(t, newRigOn(t, l), open)
	})
}

func testRedelivered(t *testing.T, r *rig, open func() *ledger.Ledger) {
	var shops []*stripe.Service
	for range 3 {
		l := open()
		s, _ := r.start(func(c *stripe.Config) { c.Ledger = l })
		shops = append(shops, s)
	}
	r.fake.Hold()
	want := map[string]credit.Units{}
	for i := range 4 {
		a := r.account(fmt.Sprint("account-", i))
		for range 3 {
			made := r.buy(shops[i%3], a, 100*(i+1))
			units, gross := made.Purchase.Units, made.Quote.Total
			r.pay(made)
			back := int64(0)
			switch rand.IntN(5) {
			case 1:
				back = gross / 3
				_, err := r.fake.Refund(made.Purchase.Session, back)
				check(t, err)
			case 2:
				first, err := r.fake.Refund(made.Purchase.Session, gross/2)
				check(t, err)
				_, err = r.fake.Refund(made.Purchase.Session, 0)
				check(t, err)
				check(t, r.fake.FailRefund(first))
				back = gross - gross/2
			case 3:
				_, err := r.fake.Dispute(made.Purchase.Session, 0)
				check(t, err)
				back = gross
			case 4:
				d, err := r.fake.Dispute(made.Purchase.Session, 0)
				check(t, err)
				check(t, r.fake.CloseDispute(d, true))
			}
			want[a] += units - units*credit.Units(back)/credit.Units(gross)
		}
	}
	r.fake.Release(true)
	check(t, r.fake.Flush(t.Context()))
	check(t, r.fake.Redeliver(t.Context(), 5, 6))
	r.quiet()
	for a, units := range want {
		r.spendable(a, units)
		if g := r.granted(a); g != units {
			t.Errorf("%s: granted %d, want %d", a, g, units)
		}
	}
	st, err := shops[0].Status(t.Context())
	check(t, err)
	if st.Events.Aside > 0 || len(st.Suspicion) > 0 {
		t.Errorf("kept aside: %+v %+v", st.Aside, st.Suspicion)
	}
	for a := range want {
		if page, total, err := shops[0].Invoices(t.Context(), a, 10, 0); err != nil || total != 3 || page[0].Status != "paid" {
			t.Errorf("%s: invoices are %+v, %v", a, page, err)
		}
	}
}

// Whatever is bought, refunded, disputed, lost on the way and repeated: granted = paid less what went back.
func TestPurchasesProperty(t *testing.T) {
	r := newRig(t)
	s, _ := r.start()
	accounts := 0
	rapid.Check(t, func(rt *rapid.T) {
		accounts++
		a := r.account(fmt.Sprint("property-", accounts))
		type sale struct {
			session      string
			units        credit.Units
			gross, back  int64
			open         []string // refunds that may fail
			disputed     string
			disputedFor  int64
			reinstatable bool
		}
		var sales []*sale
		ok := func(err error) {
			if err != nil {
				rt.Fatalf("%v", err)
			}
		}
		for range rapid.IntRange(2, 10).Draw(rt, "steps") {
			var x *sale
			if len(sales) > 0 {
				x = rapid.SampledFrom(sales).Draw(rt, "sale")
			}
			switch step := rapid.SampledFrom([]string{"buy", "abandon", "refund", "fail refund", "dispute", "win", "lose webhooks"}).Draw(rt, "step"); {
			case step == "buy" || step == "abandon":
				made, err := s.Checkout(context.Background(), a, stripe.Request{Order: stripe.Order{Money: fmt.Sprintf("%d.%02d", rapid.IntRange(5, 300).Draw(rt, "euros"),
					rapid.IntRange(0, 99).Draw(rt, "cents"))}, SuccessURL: site, CancelURL: site})
				ok(err)
				if step == "buy" {
					ok(r.fake.Pay(made.Purchase.Session))
					sales = append(sales, &sale{session: made.Purchase.Session, units: made.Purchase.Units, gross: made.Quote.Total})
				}
			case x == nil:
			case step == "refund" && x.disputed == "" && x.back < x.gross:
				amount := rapid.Int64Range(1, x.gross-x.back).Draw(rt, "amount")
				id, err := r.fake.Refund(x.session, amount)
				ok(err)
				x.back += amount
				x.open = append(x.open, id)
			case step == "fail refund" && x.disputed == "" && len(x.open) > 0:
				id := x.open[0]
				x.open = x.open[1:]
				x.back -= r.fake.Object(id)["amount"].(int64)
				ok(r.fake.FailRefund(id))
			case step == "dispute" && x.disputed == "" && x.back < x.gross:
				id, err := r.fake.Dispute(x.session, 0)
				ok(err)
				x.disputed, x.disputedFor, x.reinstatable = id, x.gross-x.back, true
				x.back = x.gross
			case step == "win" && x.reinstatable:
				ok(r.fake.CloseDispute(x.disputed, true))
				x.back -= x.disputedFor
				x.reinstatable = false
			case step == "lose webhooks":
				r.fake.Discard()
			}
		}
		var want credit.Units
		for _, x := range sales {
			want += x.units - x.units*credit.Units(x.back)/credit.Units(x.gross)
		}
		for _, x := range sales { // what adds up to nothing has to have happened all the same
			services.Eventually(t, patience, func() error {
				p, err := r.ledger.PurchaseOf(context.Background(), x.session, "", "")
				if err == nil && (p.State != ledger.PurchasePaid || p.Back != x.back) {
					err = fmt.Errorf("purchase is %+v, want %d back", p, x.back)
				}
				return err
			})
		}
		r.spendable(a, want)
		if rapid.Bool().Draw(rt, "again") {
			ok(r.fake.Redeliver(context.Background(), 1, 4))
		}
		r.quiet()
		if g := r.granted(a); g != want {
			rt.Fatalf("granted %d, want %d for %+v", g, want, sales)
		}
	})
}
