package account_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

type callRow struct {
	ID        string
	Direction string
	Caller    string `json:"caller_phone"`
	Agent     string `json:"agent_phone"`
	Status    string
	Duration  int64   `json:"duration_seconds"`
	Started   *string `json:"started_at"`
	Ended     *string `json:"ended_at"`
	Created   string  `json:"created_at"`
	Minutes   float64
	Cost      float64
	Reason    string
}

type callsAnswer struct {
	Calls      []callRow
	Pagination struct{ Total, Limit, Offset int }
}

func (c *callsAnswer) ids() []string {
	ids := []string{}
	for _, row := range c.Calls {
		ids = append(ids, row.ID)
	}
	return ids
}

// callsRig has one call of every status, newest first as they are to be listed.
func callsRig(t *testing.T, r *rig) (key string, order []string, byStatus map[string]string) {
	key = r.open(t, "org-1", "UTC", 100)
	ended := used("org-1", today.Add(-time.Minute), 84)
	lost := used("org-1", today.Add(-2*time.Minute), 60)
	lost.State = authz.StateLost
	failed := free(used("org-1", today.Add(-3*time.Minute), 0), authz.StateReleased, "abandoned")
	rejected := free(used("org-1", today.Add(-4*time.Minute), 0), authz.StateRejected, "insufficient_credits")
	outbound := used("org-1", today.Add(-5*time.Minute), 30)
	outbound.Key.Direction = authz.Outbound
	outbound.Detail.From, outbound.Detail.To = outbound.Detail.To, outbound.Detail.From
	r.ingest(t, rejected, failed, lost, ended, outbound)
	talks := r.hold(t, "org-1", "talks", base)
	r.answer(t, talks)
	r.advance(10 * time.Second)
	rings := r.hold(t, "org-1", "rings", base)
	r.advance(2500 * time.Millisecond)
	order = []string{rings.UID.String(), talks.UID.String(), ended.UID.String(), lost.UID.String(), failed.UID.String(),
		rejected.UID.String(), outbound.UID.String()}
	return key, order, map[string]string{"connecting": order[0], "in-progress": order[1], "ended": order[2], "lost": order[3],
		"failed": order[4], "rejected": order[5]}
}

func TestCalls(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key, order, byStatus := callsRig(t, r)
		var all callsAnswer
		r.get(t, key, "calls").into(t, &all)
		if got := all.ids(); !slices.Equal(got, order) || all.Pagination.Total != 7 || all.Pagination.Limit != 50 {
			t.Errorf("all calls: %v, want %v; %+v", got, order, all.Pagination)
		}
		for _, c := range all.Calls {
			wantCaller, wantAgent := "+4915112345678", "+31850835037" // whoever placed the call
			if c.Caller != wantCaller || c.Agent != wantAgent {
				t.Errorf("%s %s call is between %s and agent %s", c.Direction, c.Status, c.Caller, c.Agent)
			}
			if live := c.Status == "connecting" || c.Status == "in-progress"; live != (c.Ended == nil) {
				t.Errorf("%s call ended at %v", c.Status, c.Ended)
			}
			if talked := c.Status == "in-progress" || c.Status == "ended" || c.Status == "lost"; talked != (c.Started != nil) {
				t.Errorf("%s call started at %v", c.Status, c.Started)
			}
		}
		if c := all.Calls[1]; c.Duration != 13 || *c.Started != "2025-12-20T12:00:00.000Z" || c.Created != *c.Started || c.Cost != 0 {
			t.Errorf("live call: %+v", c)
		}
		if c := all.Calls[2]; c.Duration != 84 || *c.Ended != "2025-12-20T11:59:00.000Z" || *c.Started != "2025-12-20T11:57:36.000Z" ||
			c.Created != "2025-12-20T11:57:31.000Z" || c.Cost != 0.098 || c.Minutes != 1.4 || c.Reason != "16" {
			t.Errorf("ended call: %+v", c)
		}
		if c := all.Calls[5]; c.Reason != "insufficient_credits" || c.Duration != 0 || c.Cost != 0 || *c.Ended != "2025-12-20T11:56:00.000Z" {
			t.Errorf("rejected call: %+v", c)
		}
		// Pages are cuts of the same list, wherever the live calls end.
		for limit := 1; limit <= 8; limit++ {
			var ids []string
			for offset := 0; offset < 9; offset += limit {
				var page callsAnswer
				r.get(t, key, fmt.Sprintf("calls?limit=%d&offset=%d", limit, offset)).into(t, &page)
				ids = append(ids, page.ids()...)
				if page.Pagination.Total != 7 {
					t.Errorf("limit %d, offset %d: total %d", limit, offset, page.Pagination.Total)
				}
			}
			if !slices.Equal(ids, order) {
				t.Errorf("pages of %d: %v, want %v", limit, ids, order)
			}
		}
		for status, id := range byStatus {
			want := []string{id}
			if status == "ended" {
				want = append(want, order[6])
			}
			var got callsAnswer
			r.get(t, key, "calls?status="+status).into(t, &got)
			if !slices.Equal(got.ids(), want) || got.Pagination.Total != len(want) {
				t.Errorf("%s calls: %+v, want %v", status, got, want)
			}
		}
	})
}

// A call that ended while the list was made is in it once.
func TestCallThatEndsMeanwhile(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 100)
		live := r.hold(t, "org-1", "talks", base)
		over := used("org-1", today, 5)
		over.UID = live.UID
		r.ingest(t, over)
		var got callsAnswer
		r.get(t, key, "calls").into(t, &got)
		if len(got.Calls) != 1 || got.Calls[0].Status != "ended" || got.Pagination.Total != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// Without Redis the live calls are not known: that is said, and never shown as if there were none.
func TestCallsWithoutRedis(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key, order, _ := callsRig(t, r)
		r.redis.Kill()
		defer r.redis.Start()
		answer := r.get(t, key, "calls")
		var got callsAnswer
		answer.into(t, &got)
		if !slices.Equal(got.ids(), order[2:]) || answer.header.Get("X-Ringfence-Live-Calls") != "unknown" {
			t.Errorf("%v, %v", got.ids(), answer.header)
		}
		for _, status := range []string{"connecting", "in-progress"} {
			r.get(t, key, "calls?status="+status).refused(t, status, 503, "service_unavailable", "")
		}
		answer = r.get(t, key, "calls?status=rejected")
		answer.into(t, &got)
		if len(got.Calls) != 1 || answer.header.Get("X-Ringfence-Live-Calls") != "" {
			t.Errorf("rejected calls need no Redis: %v, %v", got.ids(), answer.header)
		}
	})
}
