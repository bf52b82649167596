package balance_test

import (
	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// slack is how far the switch's clock and ours may be apart, ms.
const slack = 5000

func (m *model) settle(e authz.End) (authz.Settlement, error) {
	c, err := m.known(e.Key)
	if err != nil {
		m.mark(e.Key, e.MarkUntil, 0)
		return authz.Settlement{}, err
	}
	again := func(over bool) (authz.Settlement, error) {
		st := authz.Settlement{State: c.State, UID: c.UID, Duplicate: true, Flags: c.Flags, Available: m.available, Seq: m.seq}
		if over {
			st.ExtraUnits = units(c.ExtraMicros, c.Price.CreditPrice)
			st.Units = c.Charged - st.ExtraUnits
			if st.TalkMS = c.UntilMS; c.State == authz.StateLost {
				st.TalkMS = max(0, c.ProofAt-c.AnsweredAt)
			}
			st.Micros = c.Price.Money(st.TalkMS)
		}
		return st, nil
	}
	switch {
	case c.State == authz.StateRejected:
		return again(false)
	case c.State == authz.StateSettled:
		if differ(e.EndedAt, c.EndedSwitch) || differ(e.AnsweredAt, c.AnsweredSwitch) || e.ExtraMicros != 0 && e.ExtraMicros != c.ExtraMicros {
			if !e.Lost {
				return authz.Settlement{}, authz.ErrCallConflict
			}
		}
		return again(true)
	case e.Lost && c.State == authz.StateLost:
		return again(true)
	case e.Lost && c.State != authz.StateLive:
		return authz.Settlement{}, authz.ErrNotYet
	case c.AnsweredAt == 0 && e.AnsweredAt == 0:
		return authz.Settlement{}, authz.ErrNotAnswered
	case c.AnsweredAt == 0 && e.AnsweredAt < 0:
		return m.neverAnswered(c, e)
	}
	m.today(e.Day)
	r := m.talk(c, e)
	r.Units, r.Micros = c.Price.Cost(r.TalkMS), c.Price.Money(r.TalkMS)
	r.ExtraMicros, r.ExtraUnits, r.Reason = e.ExtraMicros, units(e.ExtraMicros, c.Price.CreditPrice), e.Cause
	if c.State != authz.StateLost && r.Units > c.Held {
		r.Overrun = r.Units - c.Held
		c.Flags = c.Flags.With(authz.FlagOverrun)
	}
	total := r.Units + r.ExtraUnits
	more := total - c.Charged
	seq := m.seq
	m.move(c, 0)
	m.available -= more
	m.settled += more
	m.spent += more
	m.seq = seq + 1
	c.State, c.Charged, c.ExtraMicros, c.OverAt = authz.StateSettled, total, e.ExtraMicros, e.Now
	if e.Lost {
		c.State = authz.StateLost
	} else {
		c.UntilMS = r.TalkMS
	}
	m.record(c, r)
	return authz.Settlement{State: c.State, UID: c.UID, TalkMS: r.TalkMS, Units: r.Units, Micros: r.Micros, ExtraUnits: r.ExtraUnits,
		Overrun: r.Overrun, Flags: c.Flags, Available: m.available, Seq: m.seq}, nil
}

// differ tells whether a stamp was given, and another one before.
func differ(given, kept int64) bool { return given != 0 && kept != 0 && given != kept }

func (m *model) neverAnswered(c *authz.Call, e authz.End) (authz.Settlement, error) {
	st := authz.Settlement{UID: c.UID}
	ended := e.EndedAt
	if ended == 0 {
		ended = e.ReceivedAt
	}
	switch {
	case c.State == authz.StateReleased:
		st.Duplicate = true
		if c.EndedSwitch == 0 {
			m.today(e.Day)
			c.EndedSwitch = ended
		}
	default:
		m.today(e.Day)
		m.free(c, e.Now)
		c.EndedSwitch = ended
		m.record(c, authz.Record{At: e.ReceivedAt, Reason: e.Cause})
	}
	st.State, st.Flags, st.Available, st.Seq = c.State, c.Flags, m.available, m.seq
	return st, nil
}

// talk is how long a call was talked, from answer to hangup by one clock.
func (m *model) talk(c *authz.Call, e authz.End) (r authz.Record) {
	proven := max(0, c.ProofAt-c.AnsweredAt)
	if c.AnsweredAt == 0 {
		proven = 0
	}
	if e.Lost {
		r.TalkMS, r.AnsweredAt, r.At = proven, c.AnsweredAt, c.ProofAt
		return r
	}
	lived := max(0, e.ReceivedAt-c.CreatedAt)
	r.At = e.ReceivedAt
	if e.EndedAt != 0 {
		if e.EndedAt >= c.CreatedAt-slack && e.EndedAt <= e.ReceivedAt+slack {
			r.At = e.EndedAt
		} else {
			c.Flags = c.Flags.With(authz.FlagClock)
		}
	}
	answered := e.AnsweredAt
	if answered <= 0 {
		answered = c.AnsweredSwitch
	}
	sane := true
	switch {
	case e.EndedAt != 0 && answered != 0: // both of the switch
		r.TalkMS, r.AnsweredAt = e.EndedAt-answered, answered
		sane = r.TalkMS >= 0 && r.TalkMS <= lived+slack
	case c.AnsweredAt != 0: // both ours
		r.TalkMS, r.AnsweredAt = e.ReceivedAt-c.AnsweredAt, c.AnsweredAt
		sane = r.TalkMS >= 0
	default:
		r.TalkMS, r.AnsweredAt = e.ReceivedAt-answered, answered
		sane = r.TalkMS >= 0 && r.TalkMS <= lived+slack
	}
	if !sane {
		c.Flags = c.Flags.With(authz.FlagClamped)
		seen := lived
		r.AnsweredAt = c.CreatedAt
		if c.AnsweredAt != 0 {
			seen = max(0, e.ReceivedAt-c.AnsweredAt)
			r.AnsweredAt = c.AnsweredAt
		}
		r.TalkMS = min(max(c.UntilMS, proven), seen)
	}
	if e.EndedAt != 0 {
		c.EndedSwitch = e.EndedAt
	}
	if e.AnsweredAt > 0 {
		c.AnsweredSwitch = e.AnsweredAt
	}
	return r
}

// owed is what the model's ledger has charged.
func (m *model) owed() (sum credit.Units) {
	for _, rec := range ledger(m.records) {
		sum += rec.Charged()
	}
	return sum
}
