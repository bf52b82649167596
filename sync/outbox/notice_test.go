package outbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/outbox"
)

// Notices are handed on at least once, those of a call before its record is in the ledger, whatever fails; one that
// cannot be read is set aside.
func TestNoticesComeFirst(t *testing.T) {
	t.Parallel()
	everywhere(t, func(w *world) {
		told := map[uuid.UUID]int{}
		tries := 0
		var calls []authz.Record
		for range 5 {
			for _, r := range w.some(30) {
				live := r
				live.State, live.Reason, live.Units = authz.StateLive, string(authz.NoticeAnswered), -5
				w.notice(&live)
				w.put(r)
				calls = append(calls, r)
			}
		}
		w.junk(w.stream(calls[0].Account), "l\tno notice")
		w.sidecar("one", func(c *outbox.Config) {
			c.Notices = func(ctx context.Context, notices []authz.Notice) error {
				if tries++; tries%3 == 1 {
					return errors.New("not taken")
				}
				uids := make([]uuid.UUID, len(notices))
				for i, n := range notices {
					uids[i] = n.UID
					if n.Kind != authz.NoticeAnswered || n.Left != -5 {
						w.Errorf("notice %+v", n)
					}
				}
				known, err := w.ledger.KnownCalls(ctx, uids)
				if err != nil {
					return err
				}
				for _, u := range uids {
					if told[u]++; told[u] == 1 && known[u] != authz.StateNone {
						w.Errorf("the record of %s came before its notice", u)
					}
				}
				return nil
			}
		})
		w.once()
		for _, c := range calls {
			if told[c.UID] == 0 {
				w.Errorf("nobody was told of the answer of %s", c.UID)
			}
		}
	})
}
