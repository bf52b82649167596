package page

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

const (
	callsPage = 50
	mostPages = 100_000
)

// callRow is a call that is over.
type callRow struct {
	Status   string
	Inbound  bool
	Other    string
	Number   string
	Name     string // of the account's number
	At       time.Time
	Ended    time.Time
	Seconds  int64
	Cost     credit.Units
	Micros   credit.Micros
	Currency string
	Reason   string // code
}

func rowOf(c *ledger.Call, loc *time.Location, names map[string]string) callRow {
	r := callRow{Status: account.StatusOf(c.State), Inbound: c.Key.Direction == tariff.Inbound, At: time.UnixMilli(c.CreatedAt).In(loc),
		Ended: time.UnixMilli(c.Record.At).In(loc), Seconds: c.DurationSeconds(), Cost: c.Charged(), Micros: c.Micros + c.ExtraMicros, Currency: c.Detail.Currency, Reason: c.Reason}
	r.Other, r.Number = account.Parties(c.Key.Direction, &c.Detail)
	r.Name = names[r.Number]
	return r
}

// pages are where in a list a page is.
type pages struct {
	Page, Last   int // from 1
	Total        int64
	Back, Onward string // addresses; empty: none
}

// pageOf reads the page asked for; what is none is the first.
func pageOf(v *visit) int {
	n, err := strconv.Atoi(v.r.URL.Query().Get("page"))
	if err != nil || n < 1 || n > mostPages {
		return 1
	}
	return n
}

func newPages(v *visit, page, size int, total int64) pages {
	p := pages{Page: page, Total: total, Last: max(int((total+int64(size)-1)/int64(size)), 1)}
	at := func(n int) string {
		q := v.r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		return (&url.URL{Path: v.r.URL.Path, RawQuery: q.Encode()}).String()
	}
	if page > 1 {
		p.Back = at(min(page-1, p.Last))
	}
	if page < p.Last {
		p.Onward = at(page + 1)
	}
	return p
}

// logStatuses are what the call log can be narrowed to.
var logStatuses = []string{"ended", "rejected", "failed", "lost"}

var logStates = map[string]authz.State{"ended": authz.StateSettled, "rejected": authz.StateRejected, "failed": authz.StateReleased, "lost": authz.StateLost}

type callsData struct {
	Rows     []callRow
	Pages    pages
	Status   string
	Statuses []string
}

func (p *Page) calls(v *visit) error {
	d := callsData{Status: v.r.URL.Query().Get("status"), Statuses: logStatuses}
	var states []authz.State
	if state, ok := logStates[d.Status]; ok {
		states = []authz.State{state}
	} else {
		d.Status = ""
	}
	page := pageOf(v)
	calls, total, err := p.cfg.Book.Calls(v.ctx, v.account.ID, states, callsPage, (page-1)*callsPage)
	if err != nil {
		return err
	}
	names := p.numbers(v.account.ID)
	for i := range calls {
		d.Rows = append(d.Rows, rowOf(&calls[i], location(v.account), names))
	}
	d.Pages = newPages(v, page, callsPage, total)
	return v.render(http.StatusOK, "calls", "calls", &d)
}

// monthOf reads the month asked for (2026-11) as its first day; what is none, or
// has not begun, is the present one.
func (p *Page) monthOf(v *visit) (first, next time.Time) {
	loc := location(v.account)
	now := p.cfg.Now().In(loc)
	y, m := now.Year(), now.Month()
	if t, err := time.Parse("2006-01", v.r.URL.Query().Get("month")); err == nil && t.Year() >= 2000 && (t.Year() < y || t.Year() == y && t.Month() <= m) {
		y, m = t.Year(), t.Month()
	}
	return account.DayStart(y, m, 1, loc), account.DayStart(y, m+1, 1, loc)
}

// months are a month and its neighbours, to go on to.
type months struct {
	Start            time.Time
	Earlier, Present string // 2026-10; empty: none
	Later            string
}

func (p *Page) newMonths(first time.Time) months {
	now := p.cfg.Now().In(first.Location())
	y, m, _ := first.Date()
	x := months{Start: first, Earlier: time.Date(y, m-1, 1, 0, 0, 0, 0, time.UTC).Format("2006-01")}
	if later := time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC); later.Format("2006-01") <= now.Format("2006-01") {
		x.Later = later.Format("2006-01")
	}
	x.Present = first.Format("2006-01")
	return x
}

// statementLines is how many lines of a month the page shows; the file has them all.
const statementLines = 500

var errEnough = errors.New("enough lines")

type statementData struct {
	Months  months
	Next    time.Time
	Opening credit.Units
	Closing credit.Units
	Moves   []move // newest first
	Cut     bool   // there are more
	Now     bool   // the month is not over: lines may be added
	File    bool
	First   string // for the file
	Last    string
}

func (p *Page) statement(v *visit) error {
	first, next := p.monthOf(v)
	loc := location(v.account)
	d := statementData{Months: p.newMonths(first), Next: next, Now: next.After(p.cfg.Now()), File: p.cfg.Statement != nil, First: first.Format(time.DateOnly), Last: next.Add(-time.Second).Format(time.DateOnly)}
	names := p.numbers(v.account.ID)
	err := p.cfg.Book.Statement(v.ctx, v.account.ID, first, next, func(l ledger.Line) error {
		m := move{At: l.At.In(loc), Units: l.Units, Left: l.Balance, Grant: l.Grant, Hour: l.Hour}
		d.Closing = l.Balance
		switch l.Kind {
		case ledger.LineOpening:
			d.Opening = l.Balance
			return nil
		case ledger.LineClosing:
			return nil
		case ledger.LineCall:
			row := rowOf(l.Call, loc, names)
			m.Call = &row
		}
		if len(d.Moves) == statementLines {
			d.Cut = true
			return errEnough
		}
		d.Moves = append(d.Moves, m)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if !d.Cut {
		slices.Reverse(d.Moves)
	}
	if err := p.addInvoices(v, d.Moves); err != nil {
		return err
	}
	if v.r.URL.Query().Get("part") == "lines" {
		return v.fragment(http.StatusOK, "statement", "lines", &d)
	}
	return v.render(http.StatusOK, "statement", "statement", &d)
}

// statementFile hands over to the account API, which writes a statement of any length.
func (p *Page) statementFile(v *visit) error {
	if p.cfg.Statement == nil {
		return errNotFound
	}
	r := v.r.Clone(v.r.Context())
	q := url.Values{"format": {"csv"}}
	first, next := p.monthOf(v)
	q.Set("start_date", first.Format(time.DateOnly))
	q.Set("end_date", next.Add(-time.Second).In(first.Location()).Format(time.DateOnly))
	r.URL.RawQuery = q.Encode()
	p.cfg.Statement(v.w, r, v.account)
	return nil
}
