package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// usageStatements are those of usage that is reported to Stripe.
type usageStatements struct {
	UsageOpen, UsageOpenHours, UsageHourMove, UsageOwed, UsageOwedPut       string
	UsageInsert, UsageLast, UsageMinutes, UsageClaim, UsageBegin, UsageSave string
	UsageOfAccount, UsageProblems, UsageSums, UsageProven, UsageQueue       string
	UsageSwitches, UsageSwitch                                              string
}

// UsageState is how far a batch is.
type UsageState string

// The states of a batch.
const (
	UsageFrozen UsageState = "frozen" // never sent, as far as is known
	UsageSent   UsageState = "sent"   // sent, perhaps in vain: its minute will tell
	UsageKnown  UsageState = "known"  // Stripe says that it has the event; its minute does not show it yet
	UsageProven UsageState = "proven" // its minute holds its seconds
	UsageWrong  UsageState = "wrong"  // its minute holds something else: somebody has to look
)

// UsageBatch is the seconds of an hour of an account that are reported as one event.
type UsageBatch struct {
	Identifier string // the event's, at most 100 bytes
	Account    string
	Hour       time.Time // in which the calls ended
	N          int64     // 1, 2, 3 ... in an hour
	Seconds    int64     // more than 0
	Minute     time.Time // the event's time; no other batch of the account has the same
	State      UsageState
	Attempts   int64
	SentAt     time.Time // the first attempt that may have arrived; zero: none
	AbsentAt   time.Time // since when the minute has been empty all the same; zero: not known to be
	DueAt      time.Time // when it is looked at next; zero: never
	Problem    string    // of the last attempt or look; empty: none
	CreatedAt  time.Time
	ProvenAt   time.Time

	holder string // the claim
}

// UsageTotals are what an account's reports add up to, in seconds. Settled is Reported - Owed + Unreported, but for
// hours that are not over or have just changed.
type UsageTotals struct {
	Settled    int64 `json:"settled_seconds"`    // talk time of all settled and lost calls
	Reported   int64 `json:"reported_seconds"`   // in batches
	Proven     int64 `json:"proven_seconds"`     // in proven ones
	Unreported int64 `json:"unreported_seconds"` // of calls that ended while reporting was off
	Owed       int64 `json:"owed_seconds"`       // reported, but taken back by a later record: the next batches are smaller by it
}

// UsageQueue are the batches of one state that are not proven.
type UsageQueue struct {
	State   UsageState `json:"state"`
	Batches int64      `json:"batches"`
	Seconds int64      `json:"seconds"`
	Oldest  time.Time  `json:"oldest_hour"`
}

// FreezeUsage puts the seconds of the hours that were over at a time, and are in no batch yet, into batches: of each
// account in one transaction, under the lock that ingest takes, so that a call is in one batch and no other. It tells
// how many batches it made.
//
// A record that comes later, or replaces another, changes its hour's seconds: more of them make a further batch, fewer
// are owed, and deducted from the next batches of the account, since an event cannot be taken back after a day.
func (l *Ledger) FreezeUsage(ctx context.Context, now, over time.Time) (int, error) {
	const page = 100
	made := 0
	for last := ""; ; {
		var accounts []string
		err := l.view(ctx, func(tx *Tx) (err error) {
			accounts, err = list(ctx, tx.c, tx.sql.UsageOpen, []any{last, kept(over), int64(page)}, column[string])
			return err
		})
		if err != nil {
			return made, wrap("accounts with usage to report", err)
		}
		for _, account := range accounts {
			var n int
			err := l.Update(ctx, func(tx *Tx) (err error) {
				n, err = tx.freeze(ctx, account, now, over)
				return err
			})
			if err != nil {
				return made, wrap(fmt.Sprintf("freeze the usage of account %q", account), err)
			}
			made += n
		}
		if len(accounts) < page {
			return made, nil
		}
		last = accounts[len(accounts)-1]
	}
}

// openHour is an hour whose seconds are not all dealt with.
type openHour struct {
	hour time.Time
	more int64 // seconds; negative: fewer than reported
}

// freeze closes the hours of an account that begin before a time, as far as there are minutes for their batches.
func (tx *Tx) freeze(ctx context.Context, account string, now, over time.Time) (made int, err error) {
	const page = 500
	if _, err := tx.lockTotals(ctx, account); err != nil {
		return 0, err
	}
	owed, err := tx.usageOwed(ctx, account)
	if err != nil {
		return 0, err
	}
	was := owed
	for last := (time.Time{}); ; {
		from := last
		if from.IsZero() {
			from = time.UnixMilli(0)
		}
		hours, err := list(ctx, tx.c, tx.sql.UsageOpenHours, []any{account, from, kept(over), int64(page)}, func(row Scanner) (openHour, error) {
			var h openHour
			err := row.Scan(&h.hour, &h.more)
			return h, err
		})
		if err != nil {
			return 0, err
		}
		full := len(hours) == page
		if full {
			last = hours[page-1].hour
		}
		// What is owed first, so that it is deducted at once.
		slices.SortStableFunc(hours, func(a, b openHour) int { return cmp.Compare(min(a.more, 0), min(b.more, 0)) })
		for _, h := range hours {
			n, err := tx.closeHour(ctx, account, &owed, h, now)
			if err != nil {
				return 0, err
			}
			made += n
		}
		if !full {
			break
		}
	}
	if owed != was {
		_, err = tx.c.Exec(ctx, tx.sql.UsageOwedPut, account, owed)
	}
	return made, err
}

// closeHour deals with the seconds that an hour has more, or fewer.
func (tx *Tx) closeHour(ctx context.Context, account string, owed *int64, h openHour, now time.Time) (made int, err error) {
	if h.more < 0 {
		*owed -= h.more
	} else {
		deducted := min(*owed, h.more)
		if seconds := h.more - deducted; seconds > 0 {
			ok, err := tx.addUsage(ctx, account, h.hour, seconds, now)
			if err != nil || !ok {
				return 0, err
			}
			made = 1
		}
		*owed -= deducted
	}
	_, err = tx.c.Exec(ctx, tx.sql.UsageHourMove, account, h.hour, h.more)
	return made, err
}

// addUsage makes a batch, unless all minutes since its hour are taken.
func (tx *Tx) addUsage(ctx context.Context, account string, hour time.Time, seconds int64, now time.Time) (bool, error) {
	minute, err := tx.freeMinute(ctx, account, hour, now, false)
	if err != nil || minute.IsZero() {
		return false, err
	}
	last, err := one(ctx, tx.c, tx.sql.UsageLast, []any{account, hour}, column[int64])
	if err != nil {
		return false, err
	}
	_, err = tx.c.Exec(ctx, tx.sql.UsageInsert, usageIdentifier(account, hour, last+1), account, hour, last+1, seconds, minute, string(UsageFrozen), kept(now))
	return err == nil, err
}

// usageIdentifier names a batch for good. Stripe takes at most 100 characters.
func usageIdentifier(account string, hour time.Time, n int64) string {
	const longest = 64
	if len(account) > longest {
		sum := sha256.Sum256([]byte(account))
		account = hex.EncodeToString(sum[:])
	}
	return fmt.Sprintf("rf-%s-%s-%d", account, hour.UTC().Format("20060102T15"), n)
}

// freeMinute is the first minute of [from, to], or the last, that no batch of the account has; zero: there is none.
func (tx *Tx) freeMinute(ctx context.Context, account string, from, to time.Time, last bool) (time.Time, error) {
	from, to = from.UTC().Truncate(time.Hour), to.UTC().Truncate(time.Minute)
	hours := int(to.Sub(from)/time.Hour) + 1
	for i := range hours {
		if last {
			i = hours - 1 - i
		}
		hour := from.Add(time.Duration(i) * time.Hour)
		taken := make(map[time.Time]bool)
		err := tx.c.Query(ctx, tx.sql.UsageMinutes, []any{account, hour, hour.Add(time.Hour)}, func(row Scanner) error {
			var minute time.Time
			err := row.Scan(&minute)
			taken[minute.UTC()] = true
			return err
		})
		if err != nil {
			return time.Time{}, err
		}
		for j := range 60 {
			if last {
				j = 59 - j
			}
			minute := hour.Add(time.Duration(j) * time.Minute)
			if !taken[minute] && !minute.After(to) {
				return minute, nil
			}
		}
	}
	return time.Time{}, nil
}

// usageOwed is how many seconds an account's next batches are smaller by.
func (tx *Tx) usageOwed(ctx context.Context, account string) (int64, error) {
	owed, err := one(ctx, tx.c, tx.sql.UsageOwed, []any{account}, column[int64])
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return owed, err
}

// ClaimUsage takes up to limit batches that are due, so that nobody else works on them until the lease is over.
func (l *Ledger) ClaimUsage(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]UsageBatch, error) {
	var claimed []UsageBatch
	holder := uuid.NewString()
	err := l.Update(ctx, func(tx *Tx) (err error) {
		claimed, err = list(ctx, tx.c, tx.sql.UsageClaim, []any{holder, kept(now), kept(now.Add(lease)), rows(limit)}, readUsage)
		return err
	})
	slices.SortFunc(claimed, func(a, b UsageBatch) int {
		return cmp.Or(a.Hour.Compare(b.Hour), cmp.Compare(a.Account, b.Account), cmp.Compare(a.N, b.N))
	})
	return claimed, wrap("claim usage batches", err)
}

// BeginUsage notes that a claimed batch is about to be sent, before it is. One of which no attempt may have arrived
// (SentAt), and whose minute lies before oldest, gets a minute of the present; its Hour still says when the calls were.
// Any other keeps its minute, which alone can tell whether it is with Stripe. Errors: ErrConflict (the claim is over).
func (l *Ledger) BeginUsage(ctx context.Context, b UsageBatch, now, oldest time.Time) (UsageBatch, error) {
	var begun UsageBatch
	err := l.Update(ctx, func(tx *Tx) error {
		minute := b.Minute
		if b.SentAt.IsZero() && minute.Before(oldest) {
			_, err := tx.lockTotals(ctx, b.Account)
			if err != nil {
				return err
			}
			if minute, err = tx.freeMinute(ctx, b.Account, oldest.Add(time.Hour), now, true); err != nil {
				return err
			}
			if minute.IsZero() {
				return problem(ErrConflict, "every minute since %s has a batch", oldest.Format(time.RFC3339))
			}
		}
		var err error
		begun, err = one(ctx, tx.c, tx.sql.UsageBegin, []any{b.Identifier, b.holder, minute, kept(cmp.Or(b.SentAt, now))}, readUsage)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrConflict, "another sidecar works on it by now")
	}
	return begun, wrap(fmt.Sprintf("begin to send usage %s", b.Identifier), err)
}

// SaveUsage notes what became of a claimed batch, and ends the claim. What may change is State, SentAt, AbsentAt, DueAt,
// Problem and ProvenAt. Errors: ErrConflict (the claim is over).
func (l *Ledger) SaveUsage(ctx context.Context, b UsageBatch) error {
	err := l.Update(ctx, func(tx *Tx) error {
		n, err := tx.c.Exec(ctx, tx.sql.UsageSave, b.Identifier, b.holder, string(b.State), kept(b.SentAt), kept(b.AbsentAt), kept(b.DueAt), printable(b.Problem), kept(b.ProvenAt))
		if err == nil && n == 0 {
			err = problem(ErrConflict, "another sidecar works on it by now")
		}
		return err
	})
	return wrap(fmt.Sprintf("save usage %s", b.Identifier), err)
}

// UsageBatches returns a page of an account's batches, those of the latest hours first.
func (l *Ledger) UsageBatches(ctx context.Context, account string, limit, offset int) ([]UsageBatch, error) {
	var page []UsageBatch
	err := l.view(ctx, func(tx *Tx) (err error) {
		page, err = list(ctx, tx.c, tx.sql.UsageOfAccount, []any{account, rows(limit), rows(offset)}, readUsage)
		return err
	})
	return page, wrap(fmt.Sprintf("usage batches of account %q", account), err)
}

// UsageProblems returns batches that are not proven and have a problem, those of the earliest hours first: of an account
// (empty: of all), in a state (empty: in any).
func (l *Ledger) UsageProblems(ctx context.Context, account string, state UsageState, limit int) ([]UsageBatch, error) {
	var out []UsageBatch
	err := l.view(ctx, func(tx *Tx) (err error) {
		out, err = list(ctx, tx.c, tx.sql.UsageProblems, []any{account, string(state), rows(limit)}, readUsage)
		return err
	})
	return out, wrap("usage batches with a problem", err)
}

// UsageTotals adds up an account's reports.
func (l *Ledger) UsageTotals(ctx context.Context, account string) (UsageTotals, error) {
	var t UsageTotals
	err := l.view(ctx, func(tx *Tx) error {
		var err error
		if t.Owed, err = tx.usageOwed(ctx, account); err != nil {
			return err
		}
		if t.Proven, err = one(ctx, tx.c, tx.sql.UsageProven, []any{account}, column[int64]); err != nil {
			return err
		}
		return tx.c.Query(ctx, tx.sql.UsageSums, []any{account}, func(row Scanner) error {
			err := row.Scan(&t.Settled, &t.Reported, &t.Unreported)
			t.Reported += t.Owed
			return err
		})
	})
	return t, wrap(fmt.Sprintf("usage totals of account %q", account), err)
}

// UsageQueue tells what waits to be sent or proven, by state.
func (l *Ledger) UsageQueue(ctx context.Context) ([]UsageQueue, error) {
	var queue []UsageQueue
	err := l.view(ctx, func(tx *Tx) (err error) {
		queue, err = list(ctx, tx.c, tx.sql.UsageQueue, nil, func(row Scanner) (UsageQueue, error) {
			var q UsageQueue
			err := row.Scan(&q.State, &q.Batches, &q.Seconds, &q.Oldest)
			return q, err
		})
		return err
	})
	slices.SortFunc(queue, func(a, b UsageQueue) int { return cmp.Compare(a.State, b.State) })
	return queue, wrap("usage queue", err)
}

func readUsage(row Scanner) (UsageBatch, error) {
	var b UsageBatch
	err := row.Scan(&b.Identifier, &b.Account, &b.Hour, &b.N, &b.Seconds, &b.Minute, &b.State, &b.Attempts, &b.SentAt, &b.AbsentAt, &b.holder, &b.DueAt,
		&b.Problem, &b.CreatedAt, &b.ProvenAt)
	return b, err
}
