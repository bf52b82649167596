package account

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// A statement's lines go out as they are read, so that one of a million calls
// takes no more memory than one of ten. Amounts are given in units, which add up
// exactly, and in minutes for people.
type (
	statementHead struct {
		Account  string         `json:"account"`
		Company  string         `json:"company_name"`
		Currency string         `json:"currency"`
		TimeZone string         `json:"time_zone"`
		From     stamp          `json:"from"`
		To       stamp          `json:"to"` // the last moment of the range
		Opening  credit.Minutes `json:"opening_balance"`
		Units    credit.Units   `json:"opening_units"`
	}
	statementTail struct {
		Closing credit.Minutes `json:"closing_balance"`
		Units   credit.Units   `json:"closing_units"`
		Lines   int64          `json:"total_lines"`
		Granted credit.Units   `json:"granted_units"`
		Charged credit.Units   `json:"charged_units"`
	}
	statementLine struct {
		Type    ledger.LineKind `json:"type"`
		At      stamp           `json:"at"`
		Minutes credits         `json:"minutes"` // positive: credit was added
		Units   credit.Units    `json:"units"`
		Balance credit.Minutes  `json:"balance"` // after it
		Left    credit.Units    `json:"balance_units"`

		Grant *statementGrant `json:"grant,omitempty"`
		Call  *statementCall  `json:"call,omitempty"`
		Hour  *statementHour  `json:"hour,omitempty"`
	}
	statementGrant struct {
		Number    int64  `json:"number"`
		Kind      string `json:"kind"`
		Reference string `json:"reference"`
		Reason    string `json:"reason"`
	}
	statementCall struct {
		ID        uuid.UUID        `json:"id"`
		Direction tariff.Direction `json:"direction"`
		Caller    string           `json:"caller_phone"`
		Agent     string           `json:"agent_phone"`
		NumberID  string           `json:"number_id"`
		Status    string           `json:"status"`
		Duration  int64            `json:"duration_sec"`
		Cost      money            `json:"cost"`
	}
	statementHour struct {
		Calls    int64 `json:"calls"`
		Duration int64 `json:"duration_sec"`
		Cost     money `json:"cost"`
	}
)

// statementWriter writes a statement in one format.
type statementWriter interface {
	head(statementHead) error
	line(statementLine) error
	tail(statementTail, stamp) error
}

func (s *Server) statement(w http.ResponseWriter, r *http.Request, c Caller) *Error {
	q := readParams(r, "start_date", "end_date", "format")
	period := readSpan(q, c.Account.Location, s.cfg.Now())
	format := q.choice("format", "json", "csv")
	if q.err != nil {
		return q.err
	}
	if s.statements.take(c.Account.ID) {
		defer s.statements.give(c.Account.ID)
	} else {
		e := unavailable(nil, "Too many statements are being written right now. Please try again.")
		e.RetryAfter = 5
		return e
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.StatementTimeout)
	defer cancel()
	st := &statement{server: s, w: w, r: r, account: c.Account, period: period,
		csv: format == "csv" || format == "" && prefersCSV(r.Header.Values("Accept"))}
	err := s.cfg.Lists.Statement(ctx, c.Account.ID, period.from, period.to, st.take)
	if err == nil && st.out != nil {
		err = st.out.Flush()
	}
	switch {
	case err == nil:
		return nil
	case st.to == nil || !st.to.wrote:
		w.Header().Del("Content-Disposition")
		return storeError(err)
	}
	// The status is sent: what remains is to break off, so that nobody takes the beginning for the whole.
	s.cfg.Metrics.broken.Inc()
	if r.Context().Err() == nil {
		s.calm.warn("a statement broke off", logAccount, c.Account.ID, logLines, st.sum.Lines, logError, err)
	}
	abandon(w)
	return nil
}

// ServeStatement answers as GET /api/v1/statement does, for an account whose
// owner was identified otherwise than by an API key.
func (s *Server) ServeStatement(w http.ResponseWriter, r *http.Request, a *authz.Account) {
	if e := s.statement(w, r, Caller{Account: a}); e != nil {
		s.fail(w, r, e)
	}
}

// statement is one being written.
type statement struct {
	server  *Server
	w       http.ResponseWriter
	r       *http.Request
	account *authz.Account
	period  span
	csv     bool

	to   *patient // nil: not begun
	out  *bufio.Writer
	form statementWriter
	sum  statementTail
}

// take writes one line of the ledger's.
func (st *statement) take(l ledger.Line) error {
	switch l.Kind {
	case ledger.LineOpening:
		return st.begin(l.Balance)
	case ledger.LineClosing:
		st.sum.Closing, st.sum.Units = credit.Minutes(l.Balance), l.Balance
		return st.form.tail(st.sum, stamp(st.period.last()))
	}
	line := statementLine{Type: l.Kind, At: stamp(l.At), Minutes: credits(l.Units), Units: l.Units,
		Balance: credit.Minutes(l.Balance), Left: l.Balance}
	switch {
	case l.Grant != nil:
		line.Grant = &statementGrant{l.Grant.Number, l.Grant.Kind, l.Grant.Reference, l.Grant.Reason}
		st.sum.Granted += l.Units
	case l.Call != nil:
		c := l.Call
		line.Call = &statementCall{ID: c.UID, Direction: c.Key.Direction, NumberID: c.Detail.NumberID, Status: StatusOf(c.State),
			Duration: c.DurationSeconds(), Cost: money(c.Micros + c.ExtraMicros)}
		line.Call.Caller, line.Call.Agent = Parties(c.Key.Direction, &c.Detail)
		st.sum.Charged -= l.Units
	case l.Hour != nil:
		line.Hour = &statementHour{Calls: l.Hour.Calls, Duration: l.Hour.Seconds, Cost: money(l.Hour.Cost())}
		st.sum.Charged -= l.Units
	}
	st.sum.Lines++
	return st.form.line(line)
}

// outBuffer is how much of a statement goes out at a time.
const outBuffer = 32 << 10

// begin writes the headers and what comes before the lines. Until the first
// buffer of it is full, an error can still be answered as one.
func (st *statement) begin(opening credit.Units) error {
	a := st.account
	head := statementHead{Account: a.ID, Company: a.Company, Currency: a.Currency, TimeZone: a.TimeZone,
		From: stamp(st.period.from), To: stamp(st.period.last()), Opening: credit.Minutes(opening), Units: opening}
	h := st.w.Header()
	kind, extension := "application/json; charset=utf-8", ".json"
	if st.csv {
		kind, extension = "text/csv; charset=utf-8; header=present", ".csv" // RFC 4180
	}
	h.Set("Content-Type", kind)
	from, to := st.period.from.In(a.Location), st.period.last().In(a.Location)
	h.Set("Content-Disposition", `attachment; filename="statement-`+from.Format(time.DateOnly)+"-"+to.Format(time.DateOnly)+extension+`"`)
	st.to = &patient{w: st.w, within: st.server.cfg.StalledAfter}
	st.out = bufio.NewWriterSize(st.to, outBuffer)
	if st.csv {
		st.form = newCSVStatement(st.out, a.Currency)
	} else {
		st.form = &jsonStatement{out: st.out}
	}
	return st.form.head(head)
}

// patient writes to a client that takes some bytes now and then, however many
// there are in all.
type patient struct {
	w      http.ResponseWriter
	within time.Duration
	wrote  bool // something went out
}

func (p *patient) Write(b []byte) (int, error) {
	// Where there is no connection to have a deadline, nothing stalls either.
	_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(p.within))
	p.wrote = true
	return p.w.Write(b)
}

// jsonStatement writes one JSON object, a line to each line.
type jsonStatement struct {
	out   *bufio.Writer
	lines bool // one has been written
}

func (j *jsonStatement) head(h statementHead) error {
	if err := j.fields("{\n  ", h); err != nil {
		return err
	}
	_, err := j.out.WriteString(",\n  \"lines\": [")
	return err
}

func (j *jsonStatement) line(l statementLine) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	before := "\n    "
	if j.lines {
		before = ",\n    "
	}
	j.lines = true
	if _, err = j.out.WriteString(before); err == nil {
		_, err = j.out.Write(b)
	}
	return err
}

func (j *jsonStatement) tail(t statementTail, _ stamp) error {
	end := "],\n  "
	if j.lines {
		end = "\n  ],\n  "
	}
	if err := j.fields(end, t); err != nil {
		return err
	}
	_, err := j.out.WriteString("\n}\n")
	return err
}

// fields writes the fields of an object without its braces, indented.
func (j *jsonStatement) fields(before string, object any) error {
	b, err := json.MarshalIndent(object, "", "  ")
	if err != nil {
		return err
	}
	const open, shut = len("{\n  "), len("\n}")
	if _, err = j.out.WriteString(before); err == nil {
		_, err = j.out.Write(b[open : len(b)-shut])
	}
	return err
}
