package notify

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// space is the name space of the ids of deliveries.
var space = uuid.MustParse("6f0f3a0e-7a53-4c3c-9a57-0c9d4a4c1f6b")

// deliveryID follows from what a delivery tells and to whom.
func deliveryID(parts ...string) uuid.UUID {
	return uuid.NewSHA1(space, []byte(strings.Join(parts, "\x00")))
}

// batch gathers the deliveries of one transaction.
type batch struct {
	n      *Notifier
	tx     *ledger.Tx
	hooks  map[string]map[string]ledger.Webhook
	alerts map[string]ledger.Alerts
	people map[string]person
	out    []ledger.Delivery
}

// person is whom an account's messages speak of and to.
type person struct {
	account  authz.Account
	email    string
	language string
}

func (n *Notifier) open(ctx context.Context, tx *ledger.Tx, accounts []string) (*batch, error) {
	b := &batch{n: n, tx: tx, people: map[string]person{}}
	var err error
	if b.hooks, err = tx.WebhooksOf(ctx, accounts); err != nil {
		return nil, err
	}
	b.alerts, err = tx.AlertsOf(ctx, accounts)
	return b, err
}

// nobody tells whether none of the accounts wants to hear anything.
func (b *batch) nobody() bool {
	for _, a := range b.alerts {
		if a.Below > 0 || a.Email {
			return false
		}
	}
	return len(b.hooks) == 0
}

// hook is the webhook for a number: its own, or its account's.
func (b *batch) hook(account, numberID string) (ledger.Webhook, bool) {
	of := b.hooks[account]
	if w, ok := of[numberID]; ok {
		return w, true
	}
	w, ok := of[""]
	return w, ok
}

// add queues a message to a webhook; parts and the webhook make its id.
func (b *batch) add(w *ledger.Webhook, topic string, m message, parts ...string) {
	b.out = append(b.out, ledger.Delivery{ID: deliveryID(append([]string{w.Account, w.NumberID, m.Type}, parts...)...),
		Account: w.Account, NumberID: w.NumberID, Endpoint: w.URL, Topic: topic, Event: m.Type, Body: m.encode()})
}

func (b *batch) close(ctx context.Context) error {
	added, err := b.tx.Enqueue(ctx, b.out)
	if err == nil && added > 0 {
		b.n.poke()
	}
	return err
}

// who looks up whom an account's messages speak of.
func (b *batch) who(ctx context.Context, id string) (person, error) {
	if p, ok := b.people[id]; ok {
		return p, nil
	}
	a, err := b.tx.Account(ctx, id)
	if err != nil {
		return person{}, err
	}
	p := person{account: a, language: a.Language}
	if p.email, err = b.tx.BillingEmail(ctx, id); err != nil {
		return person{}, err
	}
	b.people[id] = p
	return p, nil
}

// Ended tells of calls that came into the ledger: a [ledger.Then].
func (n *Notifier) Ended(ctx context.Context, tx *ledger.Tx, changes []ledger.Change) error {
	accounts := make(map[string]bool)
	var numbers []string
	for i := range changes {
		r := &changes[i].Record
		accounts[r.Account] = true
		if r.Detail.NumberID != "" {
			numbers = append(numbers, r.Detail.NumberID)
		}
	}
	b, err := n.open(ctx, tx, slices.Sorted(maps.Keys(accounts)))
	if err != nil || b.nobody() {
		return err
	}
	names, err := tx.NumbersOf(ctx, numbers)
	if err != nil {
		return err
	}
	var wanting []string
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		if _, told := b.alerts[id]; told || len(b.hooks[id]) > 0 {
			wanting = append(wanting, id)
		}
	}
	all, err := tx.LockAccounts(ctx, wanting) // the ingest has locked them before
	if err != nil {
		return err
	}
	for _, id := range wanting {
		totals := all[id]
		// The balance after each call: from the last one back.
		left := totals.Balance()
		after := make(map[uuid.UUID]credit.Units)
		for _, c := range slices.Backward(changes) {
			if c.Record.Account == id {
				after[c.Record.UID] = left
				left += c.Delta
			}
		}
		var least credit.Units // what the cheapest of these calls costs at least
		for i := range changes {
			c := &changes[i]
			if c.Record.Account != id {
				continue
			}
			if p := c.Record.Price; !p.Free() && (least == 0 || p.Cost(1) < least) {
				least = p.Cost(1)
			}
			b.ended(c, names[c.Record.Detail.NumberID].Name, after[c.Record.UID])
		}
		if err := b.weigh(ctx, id, totals.Balance(), least); err != nil {
			return err
		}
	}
	return b.close(ctx)
}

// ended tells of one call's end.
func (b *batch) ended(c *ledger.Change, name string, left credit.Units) {
	r := &c.Record
	w, ok := b.hook(r.Account, r.Detail.NumberID)
	if !ok {
		return
	}
	topic, state := r.UID.String(), r.State.String()
	if r.AnsweredAt != 0 { // unless the answer itself was told of
		b.add(&w, topic, answered(r.UID, r.Key.Direction, &r.Detail, r.AnsweredAt, name), topic, statusInProgress)
	}
	b.add(&w, topic, over(r, name), topic, state)
	if r.State != authz.StateRejected {
		b.add(&w, topic, report(r, name, left, c.Was != authz.StateNone), topic, state)
	}
}

// weigh tells an account whose balance has fallen below its threshold, or below what the shortest call costs; each
// once. least 0: what one unit costs.
func (b *batch) weigh(ctx context.Context, id string, left, least credit.Units) error {
	if low := b.alerts[id].Below; low > 0 && left < low {
		if err := b.fall(ctx, id, EventLow, left); err != nil {
			return err
		}
	}
	if left <= 0 || left < least {
		return b.fall(ctx, id, EventExhausted, left)
	}
	return nil
}

// mailEvery is how long no second e-mail about low credit goes to an account that only changes its alerts: the address
// need not be its own.
const mailEvery = time.Hour

// fall tells an account that its credit runs low or has run out, unless it knows.
func (b *batch) fall(ctx context.Context, id, event string, left credit.Units) error {
	alerts := b.alerts[id]
	w, hooked := b.hooks[id][""]
	mail := alerts.Email && b.n.mailer != nil
	cross, told := b.tx.FellLow, alerts.LowAt
	if event == EventExhausted {
		cross, told = b.tx.RanOut, alerts.ExhaustedAt
	}
	if !hooked && !mail || !told.IsZero() {
		return nil
	}
	first, err := cross(ctx, id)
	if err != nil || !first {
		return err
	}
	p, err := b.who(ctx, id)
	if err != nil {
		return err
	}
	m := message{Type: event, Timestamp: moment(b.tx.Now().UnixMilli()), Account: &account{id, p.account.Company}, Balance: minutes(left)}
	if event == EventLow {
		m.Threshold = exact(alerts.Below.Credits())
	}
	crossing := uuid.NewString() // the row that changed makes it one
	if hooked {
		b.add(&w, id, m, crossing)
	}
	if mail && event == EventLow {
		if mail, err = b.tx.MailsLow(ctx, id, mailEvery); err != nil {
			return err
		}
	}
	if mail {
		return b.mail(p, event, mailData{Company: p.account.Company, Minutes: credit.Minutes(left).String(), Threshold: alerts.Below.Credits()}, crossing)
	}
	return nil
}

// Live tells of calls that go on: what the outbox calls notices.
func (n *Notifier) Live(ctx context.Context, notices []authz.Notice) error {
	err := n.ledger.Update(ctx, func(tx *ledger.Tx) error { return n.live(ctx, tx, notices) })
	if !errors.Is(err, ledger.ErrInvalid) {
		return err
	}
	// One that the ledger can never keep holds nobody up.
	for i := range notices {
		err := n.ledger.Update(ctx, func(tx *ledger.Tx) error { return n.live(ctx, tx, notices[i:i+1]) })
		switch {
		case errors.Is(err, ledger.ErrInvalid):
			n.log.Error("a notice of a call cannot be kept and is left out", "call_uid", notices[i].UID, "kind", string(notices[i].Kind), "error", err)
		case err != nil:
			return err
		}
	}
	return nil
}

func (n *Notifier) live(ctx context.Context, tx *ledger.Tx, notices []authz.Notice) error {
	accounts := make(map[string]bool)
	var numbers []string
	var uids []uuid.UUID
	for i := range notices {
		accounts[notices[i].Account] = true
		uids = append(uids, notices[i].UID)
		if id := notices[i].Detail.NumberID; id != "" {
			numbers = append(numbers, id)
		}
	}
	b, err := n.open(ctx, tx, slices.Sorted(maps.Keys(accounts)))
	if err != nil || b.nobody() {
		return err
	}
	names, err := tx.NumbersOf(ctx, numbers)
	if err != nil {
		return err
	}
	over, err := tx.KnownCalls(ctx, uids)
	if err != nil {
		return err
	}
	type fall struct {
		event string
		left  credit.Units
		at    time.Time
	}
	falls := make(map[string][]fall)
	for i := range notices {
		x := &notices[i]
		switch x.Kind {
		case authz.NoticeAnswered:
			w, ok := b.hook(x.Account, x.Detail.NumberID)
			if _, known := over[x.UID]; known || !ok { // its end has told of its answer
				continue
			}
			topic := x.UID.String()
			b.add(&w, topic, answered(x.UID, x.Key.Direction, &x.Detail, x.At, names[x.Detail.NumberID].Name), topic, statusInProgress)
		case authz.NoticeLow, authz.NoticeExhausted:
			if x.Left < b.alerts[x.Account].Below { // it may be another one by now
				falls[x.Account] = append(falls[x.Account], fall{EventLow, x.Left, time.UnixMilli(x.At)})
			}
			if x.Kind == authz.NoticeExhausted {
				falls[x.Account] = append(falls[x.Account], fall{EventExhausted, x.Left, time.UnixMilli(x.At)})
			}
		}
	}
	ids := slices.Sorted(maps.Keys(falls))               // one order for all, against deadlocks
	if _, err := tx.LockAccounts(ctx, ids); err != nil { // no grant comes between the look and the telling
		return err
	}
	for _, id := range ids {
		for _, f := range falls[id] {
			// Credit that was added since makes it untrue; what is left then is weighed when the call ends.
			late, err := tx.GrantedSince(ctx, id, f.at)
			if err != nil {
				return err
			}
			if late {
				continue
			}
			if err := b.fall(ctx, id, f.event, f.left); err != nil {
				return err
			}
		}
	}
	return b.close(ctx)
}

// Happened tells of grants and failed top-ups: see [ledger.Ledger.OnNotice].
func (n *Notifier) Happened(ctx context.Context, tx *ledger.Tx, what ledger.Notice) error {
	id := what.Account
	b, err := n.open(ctx, tx, []string{id})
	if err != nil || len(b.hooks) == 0 && len(b.alerts) == 0 { // one who listens no more may have been told before
		return err
	}
	totals, err := tx.LockAccount(ctx, id)
	if err != nil {
		return err
	}
	left := totals.Balance()
	switch what.Event {
	case EventCredits:
		err = b.granted(ctx, what.Grant, left)
	case EventTopUp:
		err = b.topUpFailed(ctx, &what, left)
	}
	if err == nil {
		err = b.weigh(ctx, id, left, 0)
	}
	if err != nil {
		return err
	}
	return b.close(ctx)
}

// hysteresis is how far above its threshold a balance must rise before falling below is told again: a tenth.
const hysteresis = 10

func (b *batch) granted(ctx context.Context, g *authz.Grant, left credit.Units) error {
	if g.Units <= 0 {
		return nil
	}
	alerts := b.alerts[g.Account]
	low, exhausted := left >= alerts.Below+alerts.Below/hysteresis, left >= credit.PerCredit
	if err := b.tx.Rearm(ctx, g.Account, low, exhausted); err != nil {
		return err
	}
	if low {
		alerts.LowAt = time.Time{}
	}
	if exhausted {
		alerts.ExhaustedAt = time.Time{}
	}
	b.alerts[g.Account] = alerts
	w, ok := b.hooks[g.Account][""]
	if !ok {
		return nil
	}
	p, err := b.who(ctx, g.Account)
	if err != nil {
		return err
	}
	b.add(&w, g.Account, message{Type: EventCredits, Timestamp: moment(g.At.UnixMilli()), Account: &account{g.Account, p.account.Company},
		Added: exact(g.Units.Credits()), Kind: g.Kind, Reference: g.Reference, Balance: minutes(left)}, g.Reference)
	return nil
}

func (b *batch) topUpFailed(ctx context.Context, what *ledger.Notice, left credit.Units) error {
	id := what.ID
	if id == uuid.Nil {
		id = uuid.New()
	}
	p, err := b.who(ctx, what.Account)
	if err != nil {
		return err
	}
	if w, ok := b.hooks[what.Account][""]; ok {
		b.add(&w, what.Account, message{Type: EventTopUp, Timestamp: moment(b.tx.Now().UnixMilli()), Account: &account{what.Account, p.account.Company},
			Reason: what.Problem, PayURL: what.PayURL, Balance: minutes(left)}, id.String())
	}
	if b.alerts[what.Account].Email && b.n.mailer != nil {
		return b.mail(p, EventTopUp, mailData{Company: p.account.Company, Minutes: credit.Minutes(left).String(), Problem: what.Problem, PayURL: what.PayURL}, id.String())
	}
	return nil
}
