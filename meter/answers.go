package meter

import (
	"cmp"
	"context"
	"errors"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// endOf is a hangup as the store wants it.
func (m *Meter) endOf(account string, ev *authz.Event, markUntil int64) authz.End {
	e := authz.End{Key: ev.Key, Account: account, Now: nowMS(), ReceivedAt: ev.ReceivedAt, EndedAt: cmp.Or(ev.EndedAt, ev.At),
		AnsweredAt: ev.AnsweredAt, Cause: ev.Cause, ExtraMicros: credit.Micros(ev.ExtraMicros), MarkUntil: markUntil}
	if ev.NeverAnswered {
		e.AnsweredAt = -1
	}
	e.Day, _ = m.terms(account, ev.ReceivedAt)
	return e
}

// answered records an answer and makes this sidecar the call's owner: whoever
// hears of the answer meters from there, without waiting for another's look.
func (m *Meter) answered(ctx context.Context, account string, ev *authz.Event) (authz.EventResult, error) {
	a := authz.Answer{Key: ev.Key, Account: account, Epoch: m.epoch.Load(), Now: ev.ReceivedAt, At: cmp.Or(ev.AnsweredAt, ev.At), SliceMS: m.ms.slice}
	a.Day, a.Cap = m.terms(account, ev.ReceivedAt)
	t, err := m.store.Answered(ctx, a)
	if err != nil {
		return authz.EventResult{}, err
	}
	res := authz.EventResult{State: t.Call.State}
	if t.Call.State != authz.StateLive {
		return res, nil
	}
	if a.Epoch != 0 && t.Call.Epoch != a.Epoch {
		if t.Duplicate {
			return res, nil // its owner knows
		}
		w, err := m.store.Claim(ctx, account, ev.Key, t.Call.Epoch, a.Epoch)
		if err != nil {
			if errors.Is(err, authz.ErrDown) {
				return authz.EventResult{}, err // worked again as a whole
			}
			return res, nil // it has an owner, or is over
		}
		m.met.claims.WithLabelValues("answer").Inc()
		t.Call = w
	}
	m.take(&t.Call, t.Budget, t.Others, false, 0)
	return res, nil
}

// prove notes the heartbeat of a call that another sidecar owns.
func (m *Meter) prove(ctx context.Context, account string, ev *authz.Event) (authz.EventResult, error) {
	w, err := m.store.Prove(ctx, account, ev.Key, ev.ReceivedAt)
	switch {
	case errors.Is(err, authz.ErrCallEnded): // it is over for us: nobody meters it
		return authz.EventResult{Action: ActionHangup}, nil
	case err != nil:
		return authz.EventResult{}, err
	}
	res := authz.EventResult{State: w.State, Action: ActionContinue}
	reach := w.UntilMS
	if b, err := m.store.Balance(ctx, account); err == nil {
		reach = max(reach, w.Price.Affordable(w.Held+max(b.Available, 0))*1000)
	}
	if w.MaxSeconds > 0 {
		reach = min(reach, w.MaxSeconds*1000)
	}
	if w.State == authz.StateLive {
		reach -= max(nowMS()-w.AnsweredAt, 0)
	}
	res.Remaining = max(reach, 0) / 1000
	if w.Flags.Has(authz.FlagKilled) && !w.Flags.Has(authz.FlagEmergency) {
		res.Action = ActionHangup
	}
	return res, nil
}
