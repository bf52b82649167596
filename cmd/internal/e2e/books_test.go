package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
)

// records are the account's lines of the outbox, in order, by call.
func (d *deployment) records(a account) map[string][]authz.Record {
	d.t.Helper()
	all := map[string][]authz.Record{}
	for p := range partitions {
		entries, err := d.redis.Client().XRange(d.t.Context(), d.store.OutboxKey(p), "-", "+").Result()
		must(d.t, err)
		for _, e := range entries {
			text, _ := e.Values["r"].(string)
			r, err := authz.ParseRecord(text)
			if err != nil {
				d.t.Fatalf("outbox %d, entry %s: %v", p, e.ID, err)
			}
			if r.Account == a.id {
				all[r.UID.String()] = append(all[r.UID.String()], r)
			}
		}
	}
	return all
}

// counts is the record of a call that stands in the ledger when all are in: the one of the highest rank. No state may
// have more than one, nor may the sequence numbers go back.
func counts(t *testing.T, records []authz.Record) authz.Record {
	t.Helper()
	var best authz.Record
	seen := map[authz.State]bool{}
	var last int64
	for _, r := range records {
		if seen[r.State] {
			t.Errorf("%s has two %s records", r.Key, r.State)
		}
		seen[r.State] = true
		if r.Seq < last {
			t.Errorf("%s: the sequence went back from %d to %d", r.Key, last, r.Seq)
		}
		last = r.Seq
		if r.State.Rank() > best.State.Rank() {
			best = r
		}
	}
	return best
}

// books checks an account that has no call any more: granted = available + settled, what Redis says is what the admin
// API says, and what was settled is the sum of what the records charge. It returns the records that count, by call id.
func (d *deployment) books(s *sidecar, a account) map[string]authz.Record {
	d.t.Helper()
	services.Eventually(d.t, patience, func() error {
		b, err := d.store.Balance(d.t.Context(), a.id)
		if err == nil && (b.Calls != 0 || b.Held != 0) {
			err = fmt.Errorf("%s still has %d calls, which hold %d units", a.id, b.Calls, b.Held)
		}
		return err
	})
	b := d.conserved(s, a)
	var charged credit.Units
	standing := map[string]authz.Record{}
	for _, records := range d.records(a) {
		r := counts(d.t, records)
		charged += r.Charged()
		if twin, twice := standing[r.Key.String()]; twice {
			d.t.Errorf("%s is in the outbox as two calls: %s and %s", r.Key, twin.UID, r.UID)
		}
		standing[r.Key.String()] = r
	}
	if charged != b.Settled {
		d.t.Errorf("%s: %d units are settled, but the records that count charge %d", a.id, b.Settled, charged)
	}
	return standing
}

// conserved checks that nothing came from nowhere: granted = available + held + settled, at any time.
func (d *deployment) conserved(s *sidecar, a account) authz.Balance {
	d.t.Helper()
	b, err := d.store.Balance(d.t.Context(), a.id)
	must(d.t, err)
	if b.Granted != b.Available+b.Held+b.Settled {
		d.t.Errorf("%s: granted %d is not available %d + held %d + settled %d", a.id, b.Granted, b.Available, b.Held, b.Settled)
	}
	said := s.admin(http.MethodGet, "accounts/"+a.id+"/credit", nil)
	var shown struct{ Balance authz.Balance }
	must(d.t, json.Unmarshal([]byte(said.raw), &shown))
	if g := shown.Balance; g.Granted != g.Available+g.Held+g.Settled {
		d.t.Errorf("admin API: %s: granted %d is not available %d + held %d + settled %d", a.id, g.Granted, g.Available, g.Held, g.Settled)
	} else if g.Seq == b.Seq && (g.Available != b.Available || g.Held != b.Held || g.Settled != b.Settled) {
		d.t.Errorf("admin API: %s: %+v, Redis has %+v", a.id, g, b)
	}
	return b
}

// wantSettled checks that calls of one account are settled once each, to the second that the switch measured, and that
// the account's books balance with them.
func (d *deployment) wantSettled(s *sidecar, calls ...*leg) map[string]authz.Record {
	d.t.Helper()
	standing := d.books(s, calls[0].account)
	for _, c := range calls {
		r := standing[c.key().String()]
		switch {
		case r.State != authz.StateSettled:
			d.t.Errorf("%s is %s, want it settled", c.id, r.State)
		case r.UID.String() != c.uid:
			d.t.Errorf("%s was settled as %s and authorized as %s", c.id, r.UID, c.uid)
		case r.DurationSeconds() != c.seconds() || r.TalkMS != c.ended.Sub(c.answered).Milliseconds():
			d.t.Errorf("%s was settled with %d s (%d ms); the switch measured %d s (%v)", c.id, r.DurationSeconds(), r.TalkMS, c.seconds(), c.ended.Sub(c.answered))
		case r.Units != credit.Units(c.seconds()*second) || r.AnsweredAt != c.answered.UnixMilli() || r.At != c.ended.UnixMilli():
			d.t.Errorf("%s was settled as %+v", c.id, r)
		}
	}
	return standing
}
