package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

// life is a call that loses its sidecar.
type life struct {
	*deployment
	first   *sidecar // which is killed
	heir    *sidecar // which goes on: the next process of the same name, or another sidecar
	account account
	call    *leg
}

// death kills the first sidecar. When it returns, the heir takes hooks.
func (l *life) death() {
	l.t.Helper()
	if l.heir == l.first {
		l.first.restart()
		return
	}
	l.first.Kill()
}

// heirs are the two ways in which a sidecar is followed.
var heirs = []string{"the next of its name", "another by the end of its lease"}

// inherit runs a test with each kind of heir.
func inherit(t *testing.T, changes settings, units int64, test func(*life)) {
	t.Helper()
	for _, heir := range heirs {
		t.Run(heir, func(t *testing.T) {
			t.Parallel()
			l := &life{deployment: deploy(t, changes)}
			if heir == heirs[1] {
				l.share()
			}
			l.first = l.sidecar("first")
			l.heir = l.first
			known := []*sidecar{l.first}
			if heir == heirs[1] {
				l.heir = l.sidecar("second")
				known = append(known, l.heir)
			}
			for _, s := range known {
				s.listening()
			}
			l.account = l.open("acme", units, known...)
			for _, s := range known {
				s.ready()
			}
			l.call = l.out(l.account, "a84b4c76e66710@pc33.example.com")
			test(l)
		})
	}
}

const minute = 60 * second

func TestKilledBetweenAuthorizeAndAnswer(t *testing.T) {
	t.Parallel()
	inherit(t, nil, 10*minute, func(l *life) {
		l.call.authorize(l.first)
		l.death()
		if b := l.conserved(l.heir, l.account); b.Calls != 1 || b.Held != 2*second {
			l.t.Errorf("after the kill %d calls hold %d units, want one that holds a slice", b.Calls, b.Held)
		}
		l.call.authorize(l.heir) // the switch has not heard the answer: it is the same call
		l.call.answer(l.heir)
		l.call.awaitExtension()
		l.call.end(l.heir)
		l.wantSettled(l.heir, l.call)
	})
}

func TestKilledAfterAnswer(t *testing.T) {
	t.Parallel()
	inherit(t, nil, 10*minute, func(l *life) {
		l.call.authorize(l.first)
		l.call.answer(l.first)
		l.death()
		// Nobody tells the heir of the call: it finds it, and buys it talk time.
		l.call.awaitExtension()
		l.call.end(l.heir)
		l.wantSettled(l.heir, l.call)
	})
}

func TestKilledAfterExtension(t *testing.T) {
	t.Parallel()
	inherit(t, nil, 10*minute, func(l *life) {
		l.call.authorize(l.first)
		l.call.answer(l.first)
		l.call.awaitExtension()
		l.death()
		l.call.awaitExtension()
		l.call.end(l.heir)
		l.wantSettled(l.heir, l.call)
	})
}

// The end of a call that happens while nobody listens is told to the heir, seconds late: the stamps count.
func TestEndedWhileNobodyListens(t *testing.T) {
	t.Parallel()
	inherit(t, nil, 10*minute, func(l *life) {
		l.call.authorize(l.first)
		l.call.answer(l.first)
		l.call.awaitExtension()
		l.first.Kill()
		l.call.hang()
		if l.heir == l.first {
			l.first.start()
		}
		l.call.report(l.heir, l.call.endedEvent())
		l.wantSettled(l.heir, l.call)
	})
}

// The sidecar dies in the midst of many ends: some are settled and answered, some settled only, some neither.
func TestKilledWhileEndsAreWorked(t *testing.T) {
	t.Parallel()
	inherit(t, nil, 100*minute, func(l *life) {
		calls := make([]*leg, 24)
		for i := range calls {
			calls[i] = l.out(l.account, fmt.Sprintf("call-%d", i))
			calls[i].authorize(l.first)
			calls[i].answer(l.first)
		}
		heard := make(chan *leg, len(calls))
		var ends sync.WaitGroup
		for _, c := range calls {
			c.hang()
			ends.Go(func() {
				a, err := l.first.send(http.MethodPost, l.first.hook+"/v1/events", c.endedEvent())
				if err == nil && a.status == http.StatusOK {
					heard <- c
				}
			})
		}
		for range len(calls) / 4 {
			<-heard
		}
		l.death()
		ends.Wait()
		worked := len(calls)/4 + len(heard)
		again := 0
		for _, c := range calls {
			if a := c.report(l.heir, c.endedEvent()); a.body["duplicate"] == true {
				again++
			} else if want := c.seconds(); a.number("duration_sec") != want {
				l.t.Errorf("%s: the heir settled %d s, want %d", c.id, a.number("duration_sec"), want)
			}
		}
		if again < worked {
			l.t.Errorf("%d ends were answered before the kill, and only %d were known after it", worked, again)
		}
		l.t.Logf("of %d ends %d were answered before the kill, %d were settled", len(calls), worked, again)
		standing := l.wantSettled(l.heir, calls...)
		if l.heir != l.first {
			l.wantInLedger(l.account, standing)
		}
	})
}

// wantInLedger lets the sidecars read the outbox, and waits until the shared ledger has what the records said: each
// call once, and no charge more.
func (d *deployment) wantInLedger(a account, standing map[string]authz.Record) {
	d.t.Helper()
	d.leaseOutbox(time.Now())
	ctx := d.t.Context()
	l, err := postgres.Open(ctx, postgres.Config{URL: d.settings["ledger.url"].(string)})
	must(d.t, err)
	defer func() { must(d.t, l.Close()) }()
	var charged credit.Units
	uids := make([]uuid.UUID, 0, len(standing))
	for _, r := range standing {
		charged += r.Charged()
		uids = append(uids, r.UID)
	}
	services.Eventually(d.t, patience, func() error {
		known, err := l.KnownCalls(ctx, uids)
		if err == nil && len(known) != len(uids) {
			err = fmt.Errorf("%d of %d calls are in the ledger", len(known), len(uids))
		}
		return err
	})
	totals, err := l.Totals(ctx, a.id)
	must(d.t, err)
	if totals.Settled != charged || totals.Calls.Settled != int64(len(uids)) {
		d.t.Errorf("the ledger has %+v, want %d calls that cost %d units", totals, len(uids), charged)
	}
}

// An end that is only kept, since Redis is away, goes with its sidecar as long as nothing keeps it on disk. Nobody
// vouches for the call then: it is settled to the last heartbeat that Redis has. When the switch tells the end again,
// the difference is charged.
func TestKilledWithAKeptEnd(t *testing.T) {
	t.Parallel()
	inherit(t, settings{"calls.heartbeat_every": "500ms", "calls.heartbeat_timeout": "2s", "calls.lost_after": "1s",
		"hook.deadline": "1s", "redis.timeout": "1s"}, 10*minute, func(l *life) {
		c := l.call
		c.sw = switchBeats
		c.authorize(l.first)
		c.answer(l.first)
		still := c.beat(func() *sidecar { return l.first })
		c.awaitCall("proven by a heartbeat", func(w authz.Call) bool { return w.ProofAt > w.AnsweredAt })
		still()
		l.redis.Pause()
		c.hang()
		c.wantKept(l.first, c.endedEvent())
		l.first.Kill()
		l.redis.Resume()
		if l.heir == l.first {
			l.first.start()
			l.first.listening()
		}
		l.wantLost(c, l.heir)
		c.report(l.heir, c.endedEvent())
		l.wantSettled(l.heir, c)
	})
}

// wantLost waits until a call that nobody vouches for is settled to its last proof of life.
func (d *deployment) wantLost(c *leg, s *sidecar) authz.Record {
	d.t.Helper()
	w := c.awaitState(authz.StateLost)
	r := d.books(s, c.account)[c.key().String()]
	talk := w.ProofAt - w.AnsweredAt
	if r.State != authz.StateLost || r.TalkMS != talk || r.At != w.ProofAt || r.Units != w.Price.Cost(talk) {
		d.t.Errorf("%s was last proven to live %d ms after its answer, and is settled as %+v", c.id, talk, r)
	}
	return r
}

// A hold that nobody answers lapses after the restart, and costs nothing. So does one that the kill kept from the live
// index.
func TestKilledWithAnUnansweredHold(t *testing.T) {
	t.Parallel()
	inherit(t, settings{"calls.unanswered_after": "4s"}, 10*minute, func(l *life) {
		l.call.authorize(l.first)
		l.death()
		l.call.awaitState(authz.StateReleased)
		b := l.conserved(l.heir, l.account)
		if b.Available != 10*minute || b.Held != 0 {
			l.t.Errorf("after the hold lapsed %d units are available and %d held", b.Available, b.Held)
		}
		r := l.books(l.heir, l.account)[l.call.key().String()]
		if r.State != authz.StateReleased || r.Reason != "expired" || r.Charged() != 0 {
			l.t.Errorf("the lapsed hold is on record as %+v", r)
		}
		// It was answered all the same: the stamps say what it costs.
		l.call.lift()
		l.call.end(l.heir)
		l.wantSettled(l.heir, l.call)
	})
}

// One call that loses its sidecar at every step of its life.
func TestKilledAtEveryStepOfOneCall(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 10*minute, s)
	c := d.out(a, "survivor")
	c.authorize(s)
	s.restart()
	c.answer(s)
	s.restart()
	c.awaitExtension()
	s.restart()
	c.awaitExtension()
	s.Kill()
	c.hang()
	s.start()
	c.report(s, c.endedEvent())
	s.restart()
	if again := c.report(s, c.endedEvent()); again.body["duplicate"] != true || again.number("cost_units") != c.seconds()*second {
		t.Errorf("the end told once more: %v", again)
	}
	d.wantSettled(s, c)
}

// A grant that the kill interrupted is applied once, when it is asked for again.
func TestKilledWhileGranting(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", minute, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 { // until the kill
			body := map[string]any{"units": second, "reference": fmt.Sprintf("grant-%d", i)}
			if _, err := s.send(http.MethodPost, s.ops+"/admin/v1/accounts/"+a.id+"/grants", body); err != nil {
				return
			}
		}
	}()
	services.Eventually(t, patience, func() error {
		b, err := d.store.Balance(t.Context(), a.id)
		if err == nil && b.GrantSeq < 5 {
			err = errNotYet
		}
		return err
	})
	s.Kill()
	<-done
	s.start()
	s.listening()
	for i := range 20 {
		s.grant(a, second, fmt.Sprintf("grant-%d", i))
	}
	b, err := d.store.Balance(t.Context(), a.id)
	must(t, err)
	if wanted := credit.Units(minute + second*(b.GrantSeq-1)); b.Granted != wanted || b.GrantSeq < 21 {
		t.Errorf("%d grants gave %d units, want %d", b.GrantSeq, b.Granted, wanted)
	}
	d.conserved(s, a)
}
