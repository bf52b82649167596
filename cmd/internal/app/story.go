package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/meter"
)

// storyKept is how many steps are remembered, of all calls together.
const storyKept = 50_000

// story remembers what this sidecar did with its calls of late, for
// `ringfence call explain`. The oldest steps give way.
type story struct {
	mu    sync.Mutex
	steps []step
	next  int
}

// step is one thing that happened to a call, kept as figures until somebody asks.
type step struct {
	at      int64 // Unix ms, our clock
	key     authz.Key
	what    string
	text    string
	figures [4]int64
}

func (s *story) tell(k authz.Key, what, text string, figures ...int64) {
	e := step{at: time.Now().UnixMilli(), key: k, what: what, text: text}
	copy(e.figures[:], figures)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil {
		s.steps = make([]step, 0, storyKept) // memory that is not used yet costs nothing
	}
	if len(s.steps) < storyKept {
		s.steps = append(s.steps, e)
		return
	}
	s.steps[s.next] = e
	s.next = (s.next + 1) % storyKept
}

// of gives the steps of a call, oldest first.
func (s *story) of(k authz.Key) []step {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []step
	for i := range s.steps {
		if e := &s.steps[(s.next+i)%len(s.steps)]; e.key == k {
			out = append(out, *e)
		}
	}
	return out
}

// tellingStore is the balance store that also tells the story.
type tellingStore struct {
	*balance.Store
	story *story
}

func failed(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Authorize is the balance store's.
func (t tellingStore) Authorize(ctx context.Context, h *authz.Hold) (authz.Held, error) {
	held, err := t.Store.Authorize(ctx, h)
	text := failed(err)
	if held.Denied != "" {
		text = "refused: " + string(held.Denied)
	}
	if !h.Dry {
		t.story.tell(h.Key, "authorize", text, int64(held.Units), held.UntilMS/1000, int64(held.Available), held.Others)
	}
	return held, err
}

// Answered is the balance store's.
func (t tellingStore) Answered(ctx context.Context, a authz.Answer) (authz.Taken, error) {
	r, err := t.Store.Answered(ctx, a)
	t.story.tell(a.Key, "answered", failed(err), int64(r.Call.Held), r.Call.UntilMS/1000, int64(r.Budget), r.Others)
	return r, err
}

// Extend is the balance store's.
func (t tellingStore) Extend(ctx context.Context, xs []authz.Extension) []authz.Extended {
	out := t.Store.Extend(ctx, xs)
	for i := range xs {
		t.story.tell(xs[i].Key, "extend", failed(out[i].Err), int64(out[i].Units), out[i].UntilMS/1000, int64(out[i].Budget), out[i].Others)
	}
	return out
}

// Settle is the balance store's.
func (t tellingStore) Settle(ctx context.Context, e authz.End) (authz.Settlement, error) {
	r, err := t.Store.Settle(ctx, e)
	text := failed(err)
	switch {
	case err != nil:
	case r.Duplicate:
		text = "again; nothing changed"
	default:
		text = r.State.String()
	}
	t.story.tell(e.Key, "settle", text, int64(r.Units+r.ExtraUnits), r.TalkMS, int64(r.Available), r.Seq)
	return r, err
}

// Release is the balance store's.
func (t tellingStore) Release(ctx context.Context, e authz.Release) (authz.Settlement, error) {
	r, err := t.Store.Release(ctx, e)
	text := e.Reason
	if err != nil {
		text += ": " + err.Error()
	}
	t.story.tell(e.Key, "release", text, 0, 0, int64(r.Available), r.Seq)
	return r, err
}

// Adopt is the balance store's.
func (t tellingStore) Adopt(ctx context.Context, h *authz.Hold) (authz.Taken, error) {
	r, err := t.Store.Adopt(ctx, h)
	t.story.tell(h.Key, "adopt", failed(err), int64(r.Call.Held), r.Call.UntilMS/1000, int64(r.Budget), r.Others)
	return r, err
}

// Claim is the balance store's.
func (t tellingStore) Claim(ctx context.Context, account string, k authz.Key, from, to int64) (authz.Call, error) {
	c, err := t.Store.Claim(ctx, account, k, from, to)
	t.story.tell(k, "claim", failed(err), from, to)
	return c, err
}

// tellingEvents is the meter that also tells the story.
type tellingEvents struct {
	*meter.Meter
	story *story
}

// Event is the meter's.
func (t tellingEvents) Event(ctx context.Context, e authz.Event) (authz.EventResult, error) {
	r, err := t.Meter.Event(ctx, e)
	text := failed(err)
	if r.Kept {
		text = "kept, to be worked later"
	}
	t.story.tell(e.Key, "event "+string(e.Type), text, e.At, e.AnsweredAt, e.EndedAt, r.Remaining)
	return r, err
}

// line says a step in words.
func (e *step) line() string {
	f := e.figures
	var s string
	switch e.what {
	case "authorize", "answered", "extend", "adopt":
		s = fmt.Sprintf("%d units held, talk bought up to %d s, %d units to spend, %d other calls", f[0], f[1], f[2], f[3])
		if e.what == "authorize" {
			s = fmt.Sprintf("%d units held, talk bought up to %d s, %d units available afterwards, %d other calls", f[0], f[1], f[2], f[3])
		}
	case "settle":
		s = fmt.Sprintf("%d units charged for %d ms of talk, %d units available afterwards, seq %d", f[0], f[1], f[2], f[3])
	case "release":
		s = fmt.Sprintf("the hold went back, %d units available afterwards, seq %d", f[2], f[3])
	case "claim":
		s = fmt.Sprintf("taken over from epoch %d under epoch %d", f[0], f[1])
	default:
		for i, name := range []string{"at", "answered_at", "ended_at"} {
			if f[i] != 0 {
				s += fmt.Sprintf("%s %s ", name, time.UnixMilli(f[i]).UTC().Format("15:04:05.000"))
			}
		}
	}
	if e.text != "" {
		s = e.text + "; " + s
	}
	return s
}
