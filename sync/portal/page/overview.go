package page

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

const (
	shownLive  = 50 // live calls on the overview
	shownMoves = 10 // lines of "latest movements"
)

// holdings are what an account has at one moment.
type holdings struct {
	Left    credit.Units  // what would be left if every call ended now
	Price   credit.Micros // of one credit
	Known   bool          // false: the balance store does not answer; Left is the ledger's
	Calls   []liveCall    // newest first, at most shownLive
	Total   int           // live calls, shown or not
	Seq     int64         // moves with every change of credit
	Granted int64         // the number of the last grant in Left, where Known
	Warning bool          // below the account's own threshold
}

type liveCall struct {
	ID       uuid.UUID
	Inbound  bool
	Other    string // the other end
	Number   string // the account's
	Name     string // of that number
	Talking  bool
	Seconds  int64 // of talk so far
	Answered int64 // Unix ms; 0: not yet
	Cost     credit.Units
}

// hold reads what an account has now.
func (p *Page) hold(ctx context.Context, a *authz.Account) (holdings, error) {
	h := holdings{Price: priceOf(a)}
	short, cancel := context.WithTimeout(ctx, p.cfg.RedisTimeout)
	defer cancel()
	b, calls, err := account.Holdings(short, p.cfg.Balances, a.ID)
	if err != nil {
		t, err := p.cfg.Book.Totals(ctx, a.ID)
		h.Left = t.Balance()
		return h, err
	}
	now := p.cfg.Now().UnixMilli()
	h.Left, h.Known, h.Seq, h.Granted, h.Total = credit.Units(portal.MinutesBalance(b, calls, now)), true, b.Seq, b.GrantSeq, len(calls)
	slices.SortFunc(calls, func(x, y authz.Call) int {
		return cmp.Or(cmp.Compare(y.CreatedAt, x.CreatedAt), bytes.Compare(y.UID[:], x.UID[:]))
	})
	names := p.numbers(a.ID)
	for i := range calls[:min(len(calls), shownLive)] {
		c := &calls[i]
		l := liveCall{ID: c.UID, Inbound: c.Direction == tariff.Inbound, Cost: portal.CostSoFar(c, now)}
		l.Other, l.Number = account.Parties(c.Direction, &c.Detail)
		l.Name = names[l.Number]
		if c.State == authz.StateLive {
			l.Talking, l.Answered, l.Seconds = true, c.AnsweredAt, max(now-c.AnsweredAt, 0)/1000
		}
		h.Calls = append(h.Calls, l)
	}
	return h, nil
}

func priceOf(a *authz.Account) credit.Micros {
	if a.Table == nil {
		return 0
	}
	return a.Table.CreditPrice()
}

// numbers are the names of an account's numbers.
func (p *Page) numbers(id string) map[string]string {
	names := map[string]string{}
	for _, n := range p.cfg.Directory.Numbers(id, "", 0) {
		names[n.E164] = n.Name
	}
	return names
}

// overviewData is what the overview shows.
type overviewData struct {
	Now     holdings
	Month   ledger.Sum
	Start   time.Time // of the month
	Moves   []move
	Alerts  *ledger.Alerts // nil: not available here
	TopUp   *ledger.TopUp  // nil: not available here
	Trouble *trouble       // with it; nil: none
}

// move is a grant or a charged call.
type move struct {
	At      time.Time
	Units   credit.Units
	Grant   *authz.Grant
	Invoice *ledger.Invoice // of the purchase that the grant is of; nil: not known
	Call    *callRow
	Hour    *ledger.Sum // the calls of an hour whose records are dropped
	Left    credit.Units
}

// Invoiced tells whether an invoice says which purchase the grant is of.
func (m move) Invoiced() bool { return m.Invoice != nil }

func (p *Page) overview(v *visit) error {
	if v.r.URL.Query().Get("part") == "moves" {
		moves, err := p.moves(v)
		if err != nil {
			return err
		}
		return v.fragment(http.StatusOK, "overview", "moves", &overviewData{Moves: moves})
	}
	switch v.r.URL.Query().Get("purchase") { // where a purchase of the API's leads back to unless told otherwise
	case "paid":
		return v.redirect(Path + "/paid")
	case "cancelled":
		return v.redirect(Path + "/add-credits?done=" + notPaid)
	}
	var d overviewData
	var err error
	if d.Now, err = p.hold(v.ctx, v.account); err != nil {
		return err
	}
	now := p.cfg.Now().In(location(v.account))
	d.Start = account.DayStart(now.Year(), now.Month(), 1, now.Location())
	if d.Month, err = p.cfg.Book.Sum(v.ctx, v.account.ID, d.Start, now.AddDate(0, 0, 1)); err != nil {
		return err
	}
	if d.Moves, err = p.moves(v); err != nil {
		return err
	}
	if p.cfg.Alerting != nil {
		a, err := p.cfg.Alerting.Alerts(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		d.Alerts, d.Now.Warning = &a, a.Below > 0 && d.Now.Left < a.Below
	}
	if p.cfg.TopUps != nil {
		t, err := p.cfg.TopUps.TopUp(v.ctx, v.account.ID)
		if err != nil {
			return err
		}
		d.TopUp, d.Trouble = &t, p.trouble(v, &t)
	}
	return v.render(http.StatusOK, "overview", "overview", &d)
}

func location(a *authz.Account) *time.Location {
	if a.Location == nil {
		return time.UTC
	}
	return a.Location
}

// moves are the newest grants and charged calls.
func (p *Page) moves(v *visit) ([]move, error) {
	id, loc := v.account.ID, location(v.account)
	t, err := p.cfg.Book.Totals(v.ctx, id)
	if err != nil {
		return nil, err
	}
	grants, err := p.cfg.Book.Grants(v.ctx, id, max(t.Grants-shownMoves, 0), shownMoves)
	if err != nil {
		return nil, err
	}
	calls, _, err := p.cfg.Book.Calls(v.ctx, id, []authz.State{authz.StateSettled, authz.StateLost}, shownMoves, 0)
	if err != nil {
		return nil, err
	}
	names := p.numbers(id)
	var all []move
	for i := range grants {
		all = append(all, move{At: grants[i].At.In(loc), Units: grants[i].Units, Grant: &grants[i]})
	}
	for i := range calls {
		row := rowOf(&calls[i], loc, names)
		all = append(all, move{At: row.Ended, Units: -row.Cost, Call: &row})
	}
	slices.SortStableFunc(all, func(x, y move) int { return y.At.Compare(x.At) })
	all = all[:min(len(all), shownMoves)]
	return all, p.addInvoices(v, all)
}
