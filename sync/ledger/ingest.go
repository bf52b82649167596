package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Then is what else happens in the transaction of an ingest: it gets the calls that were inserted or replaced, and
// whatever it writes is committed with them or not at all. It may run more than once, for parts of the batch or after
// a deadlock.
type Then func(ctx context.Context, tx *Tx, changes []Change) error

// Ingest takes outbox records into the ledger, in one transaction: each call once, whatever comes twice, late or out
// of order. A record that outranks what the ledger has of its call replaces it and the account is charged the
// difference; one of equal or lower rank changes nothing. One result for each record is returned, in their order. A
// record that can never be kept is refused by its result and does not keep the others back.
//
// If the database itself refuses a value that passed every check here, the batch is halved until the record is found;
// then its parts are committed one by one.
func (l *Ledger) Ingest(ctx context.Context, records []authz.Record, then ...Then) ([]Result, error) {
	results := make([]Result, len(records))
	var fit []int
	for i := range records {
		r := &records[i]
		results[i].UID = r.UID
		if err := checkRecord(r); err != nil {
			results[i] = refuse(r, err.Error())
			continue
		}
		fit = append(fit, i)
	}
	if err := l.ingestParts(ctx, records, fit, results, then); err != nil {
		return nil, fmt.Errorf("ingest %d records: %w", len(records), err)
	}
	return results, nil
}

// thenError keeps the failure of a Then apart from a record's.
type thenError struct{ err error }

func (e *thenError) Error() string { return e.err.Error() }
func (e *thenError) Unwrap() error { return e.err }

func (l *Ledger) ingestParts(ctx context.Context, records []authz.Record, part []int, results []Result, then []Then) error {
	if len(part) == 0 {
		return nil
	}
	err := l.Update(ctx, func(tx *Tx) error { return tx.ingest(ctx, records, part, results, then) })
	if !errors.Is(err, ErrInvalid) || errors.As(err, new(*thenError)) {
		return err
	}
	if len(part) == 1 {
		results[part[0]] = refuse(&records[part[0]], err.Error())
		return nil
	}
	half := len(part) / 2
	if err := l.ingestParts(ctx, records, part[:half], results, then); err != nil {
		return err
	}
	return l.ingestParts(ctx, records, part[half:], results, then)
}

func refuse(r *authz.Record, reason string) Result {
	return Result{UID: r.UID, Outcome: Refused, Err: &RefusedError{UID: r.UID, Account: r.Account, Reason: reason}}
}

// entry is what the ledger has of a call before and during an ingest.
type entry struct {
	account string
	key     authz.Key
	state   authz.State
	at      int64
	sum     Sum
}

type hourKey struct {
	account string
	hour    int64 // Unix milliseconds
}

// batch gathers what one ingest changes.
type batch struct {
	totals map[string]*Totals  // of the accounts concerned, as locked
	before map[uuid.UUID]entry // calls known before
	now    map[uuid.UUID]*authz.Record
	order  []uuid.UUID // of now, as they first changed
	moved  map[string]*move
	hours  map[hourKey]*hourMove
	// Of accounts whose usage is not always reported.
	switches map[string]usageSwitches
}

// hourMove is the change of an hour's sums.
type hourMove struct {
	counts     Counts
	sum        Sum
	unreported int64 // seconds of the sum
}

// move is the change of an account's sums.
type move struct {
	units  credit.Units
	seq    int64
	counts Counts
}

func (tx *Tx) ingest(ctx context.Context, records []authz.Record, part []int, results []Result, then []Then) error {
	b, err := tx.openBatch(ctx, records, part)
	if err != nil {
		return err
	}
	for _, i := range part {
		results[i] = b.take(&records[i])
	}
	if err := tx.writeBatch(ctx, b); err != nil {
		return err
	}
	if len(b.order) == 0 {
		return nil
	}
	changes := b.changes()
	for _, fn := range then {
		if err := fn(ctx, tx, changes); err != nil {
			return &thenError{err}
		}
	}
	return nil
}

// openBatch locks the accounts concerned, in the order of their ids, and reads what the ledger has of the calls.
func (tx *Tx) openBatch(ctx context.Context, records []authz.Record, part []int) (*batch, error) {
	b := &batch{
		totals: make(map[string]*Totals), before: make(map[uuid.UUID]entry),
		now: make(map[uuid.UUID]*authz.Record), moved: make(map[string]*move), hours: make(map[hourKey]*hourMove),
	}
	accounts := make(map[string]struct{})
	uids := make([]uuid.UUID, 0, len(part))
	for _, i := range part {
		accounts[records[i].Account] = struct{}{}
		uids = append(uids, records[i].UID)
	}
	err := tx.c.Query(ctx, tx.sql.SumsLocked, []any{sortedKeys(accounts)}, func(row Scanner) error {
		t, err := readTotals(row)
		b.totals[t.Account] = &t
		return err
	})
	if err != nil {
		return nil, err
	}
	if b.switches, err = tx.usageSwitches(ctx, sortedKeys(accounts)); err != nil {
		return nil, err
	}
	err = tx.known(ctx, uids, func(uid uuid.UUID, e entry) { b.before[uid] = e })
	return b, err
}

// known reads what the ledger has of calls.
func (tx *Tx) known(ctx context.Context, uids []uuid.UUID, fn func(uuid.UUID, entry)) error {
	return tx.c.Query(ctx, tx.sql.CallsKnown, []any{uids}, func(row Scanner) error {
		var uid uuid.UUID
		var e entry
		var status, direction string
		var at time.Time
		err := row.Scan(&uid, &e.account, &status, &e.key.Switch, &direction, &e.key.CallID, &at,
			&e.sum.Seconds, &e.sum.Units, &e.sum.Micros, &e.sum.ExtraUnits, &e.sum.ExtraMicros)
		if err != nil {
			return err
		}
		e.at = at.UnixMilli()
		if e.state, e.key.Direction, err = parseCallWords(status, direction); err != nil {
			return err
		}
		fn(uid, e)
		return nil
	})
}

// take decides what a record does, and notes the changes.
func (b *batch) take(r *authz.Record) Result {
	t, ok := b.totals[r.Account]
	if !ok {
		return refuse(r, "the ledger has no such account")
	}
	was, known := b.has(r.UID)
	if known && (was.account != r.Account || was.key != r.Key) {
		return refuse(r, fmt.Sprintf("the uid is that of call %s of account %q", was.key, was.account))
	}
	if !known && !t.KeptFrom.IsZero() && r.At < t.KeptFrom.UnixMilli() {
		return refuse(r, fmt.Sprintf("calls before %s have been dropped: it may be one of them", t.KeptFrom.Format(time.RFC3339)))
	}
	m := b.moved[r.Account]
	if m == nil {
		m = &move{}
		b.moved[r.Account] = m
	}
	m.seq = max(m.seq, r.Seq)
	if known && r.State.Rank() <= was.state.Rank() {
		return Result{UID: r.UID, Outcome: Duplicate}
	}

	result := Result{UID: r.UID, Outcome: Inserted}
	if known {
		result.Outcome = Replaced
		b.note(m, &was, -1)
	}
	now := entryOf(r)
	b.note(m, &now, 1)
	if _, again := b.now[r.UID]; !again {
		b.order = append(b.order, r.UID)
	}
	b.now[r.UID] = r
	return result
}

// has is what the ledger would have of a call if the batch ended here.
func (b *batch) has(uid uuid.UUID) (entry, bool) {
	if r, ok := b.now[uid]; ok {
		return entryOf(r), true
	}
	e, ok := b.before[uid]
	return e, ok
}

func entryOf(r *authz.Record) entry {
	return entry{account: r.Account, key: r.Key, state: r.State, at: r.At, sum: Sum{
		Seconds: r.DurationSeconds(), Units: r.Units, Micros: r.Micros, ExtraUnits: r.ExtraUnits, ExtraMicros: r.ExtraMicros}}
}

// charge is what the account pays for the call.
func (e *entry) charge() credit.Units {
	if charged(e.state) {
		return e.sum.Charged()
	}
	return 0
}

// note adds a call to the sums, or with sign -1 takes it out.
func (b *batch) note(m *move, e *entry, sign int64) {
	key := hourKey{e.account, hourOf(e.at)}
	h := b.hours[key]
	if h == nil {
		h = &hourMove{}
		b.hours[key] = h
	}
	*m.counts.of(e.state) += sign
	*h.counts.of(e.state) += sign
	if !charged(e.state) {
		return
	}
	m.units += credit.Units(sign) * e.sum.Charged()
	h.sum.Seconds += sign * e.sum.Seconds
	if b.switches[e.account].off(e.at) {
		h.unreported += sign * e.sum.Seconds
	}
	h.sum.Units += credit.Units(sign) * e.sum.Units
	h.sum.Micros += credit.Micros(sign) * e.sum.Micros
	h.sum.ExtraUnits += credit.Units(sign) * e.sum.ExtraUnits
	h.sum.ExtraMicros += credit.Micros(sign) * e.sum.ExtraMicros
}

const hourMS = int64(time.Hour / time.Millisecond)

// hourOf is the beginning of a time's UTC hour, both in Unix milliseconds after 1970.
func hourOf(ms int64) int64 { return ms - ms%hourMS }

// writeBatch writes calls, hours and sums, each kind in a fixed order.
func (tx *Tx) writeBatch(ctx context.Context, b *batch) error {
	recorded := tx.l.timestamp()
	calls := make([][]any, 0, len(b.order))
	for _, uid := range b.order {
		r := b.now[uid]
		if before := b.totals[r.Account].MaskedBefore; !before.IsZero() && r.At < before.UnixMilli() {
			masked := *r
			masked.Detail = maskDetail(r.Detail)
			r = &masked
		}
		calls = append(calls, callArgs(r, recorded))
	}
	hours := make([][]any, 0, len(b.hours))
	for key, h := range b.hours {
		c, sum := &h.counts, &h.sum
		hours = append(hours, []any{key.account, time.UnixMilli(key.hour), c.Settled, c.Lost, c.Released, c.Rejected,
			sum.Seconds, int64(sum.Units), int64(sum.Micros), int64(sum.ExtraUnits), int64(sum.ExtraMicros), h.unreported})
	}
	sums := make([][]any, 0, len(b.moved))
	for _, account := range sortedKeys(b.moved) {
		m := b.moved[account]
		if *m == (move{seq: m.seq}) && m.seq <= b.totals[account].Seq {
			continue // duplicates only
		}
		sums = append(sums, []any{account, int64(m.units), m.seq,
			m.counts.Settled, m.counts.Lost, m.counts.Released, m.counts.Rejected})
	}
	for _, w := range []struct {
		sql  string
		rows [][]any
	}{{tx.sql.CallPut, calls}, {tx.sql.HourMove, hours}, {tx.sql.SumsMove, sums}} {
		if len(w.rows) == 0 {
			continue
		}
		n, err := tx.c.ExecEach(ctx, w.sql, w.rows)
		if err != nil {
			return err
		}
		if n != int64(len(w.rows)) {
			// The same uid came for another account, which this transaction did not lock. The next attempt sees it.
			return fmt.Errorf("%w: %d of %d rows were written", ErrConflict, n, len(w.rows))
		}
	}
	return nil
}

// changes lists what the batch did to each call.
func (b *batch) changes() []Change {
	out := make([]Change, 0, len(b.order))
	for _, uid := range b.order {
		was, now := b.before[uid], entryOf(b.now[uid])
		out = append(out, Change{Record: *b.now[uid], Was: was.state, Delta: now.charge() - was.charge()})
	}
	return out
}

// maskDetail truncates the numbers of a call.
func maskDetail(d authz.Detail) authz.Detail {
	for _, s := range []*string{&d.From, &d.To, &d.FromRaw, &d.ToRaw} {
		*s = authz.Truncate(*s)
	}
	return d
}
