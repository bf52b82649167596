package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

const (
	watchersOfOne = 8   // of an account, on this sidecar
	watchersOfAll = 512 // on this sidecar
	// lookShare bounds the part of the time that looking at one account takes: a
	// look is followed by a pause of at least so many times as long.
	lookShare = 20
)

// hub looks at the accounts that somebody watches, each once however many watch it.
type hub struct {
	page *Page

	looks   sync.WaitGroup
	mu      sync.Mutex
	watched map[string]*watch
	total   int
}

type watch struct {
	stop  context.CancelFunc
	feeds map[chan holdings]bool
}

// join has an account's holdings sent to a channel. ok is false where too many watch.
func (h *hub) join(a *authz.Account) (feed chan holdings, leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.watched[a.ID]
	if h.total >= watchersOfAll || w != nil && len(w.feeds) >= watchersOfOne {
		return nil, nil, false
	}
	if w == nil {
		ctx, stop := context.WithCancel(h.page.stopping)
		w = &watch{stop: stop, feeds: map[chan holdings]bool{}}
		h.watched[a.ID] = w
		h.looks.Go(func() { h.look(ctx, a, w) })
	}
	feed = make(chan holdings, 1)
	w.feeds[feed] = true
	h.total++
	h.page.cfg.Metrics.watching.Inc()
	return feed, sync.OnceFunc(func() { h.leave(a.ID, w, feed) }), true
}

func (h *hub) leave(id string, w *watch, feed chan holdings) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(w.feeds, feed)
	h.total--
	h.page.cfg.Metrics.watching.Dec()
	if len(w.feeds) == 0 {
		w.stop()
		delete(h.watched, id)
	}
}

// look reads an account again and again, and sends what it finds to all who watch.
func (h *hub) look(ctx context.Context, a *authz.Account, w *watch) {
	for {
		start := time.Now()
		if now, ok := h.page.cfg.Directory.Account(a.ID); ok {
			a = now // its price may have changed
		}
		short, cancel := context.WithTimeout(ctx, h.page.cfg.Timeout)
		now, err := h.page.hold(short, a)
		cancel()
		if err == nil {
			h.mu.Lock()
			for feed := range w.feeds {
				select { // one who is slow gets the newest
				case <-feed:
				default:
				}
				feed <- now
			}
			h.mu.Unlock()
		}
		pause := time.NewTimer(max(h.page.cfg.WatchEvery, lookShare*time.Since(start)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

// event is what a browser is sent: texts that are ready to be shown.
type event struct {
	Credits string      `json:"credits"`
	Money   string      `json:"money"`
	Calls   []callEvent `json:"calls"`
	HTML    *string     `json:"html,omitempty"` // the live calls anew, where others are shown than before
	Say     string      `json:"say,omitempty"`  // for whoever listens rather than looks
	Moved   bool        `json:"moved,omitempty"`
	Known   bool        `json:"known"` // false: the balance is the ledger's, and may be a little behind
}

type callEvent struct {
	ID    uuid.UUID `json:"id"`
	Clock string    `json:"clock"`
	Cost  string    `json:"cost"`
}

// live sends the balance and the calls of now, until the browser leaves, the
// session is over, or the server stops (server-sent events).
func (p *Page) live(v *visit) error {
	feed, leave, ok := p.hub.join(v.account)
	if !ok {
		return errUnavailable
	}
	defer leave()
	rc := http.NewResponseController(v.w)
	_ = rc.SetReadDeadline(time.Time{})
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(http.StatusOK)
	ctx := v.r.Context() // without the deadline of other answers
	sure := time.NewTicker(p.cfg.SureEvery)
	defer sure.Stop()
	s := stream{v: v}
	send := func(text string) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(p.cfg.Timeout))
		_, err := v.w.Write([]byte(text))
		return err == nil && rc.Flush() == nil
	}
	if !send("retry: 3000\n\n") {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.stopping.Done():
			return nil
		case <-sure.C:
			short, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
			again := visit{page: p, w: v.w, r: v.r, ctx: short, lang: v.lang}
			err := p.stillIn(&again)
			cancel()
			if errors.Is(err, ledger.ErrNotFound) { // a ledger that is away ends no session
				send("event: over\ndata: {}\n\n")
				return nil
			}
		case now := <-feed:
			text, err := s.next(now)
			if err != nil {
				p.cfg.Log.Error("a balance cannot be shown live", logAccount, v.account.ID, logError, err)
				return nil
			}
			if !send(text) {
				return nil
			}
		}
	}
}

// stillIn tells whether a session is in force, without counting that as its use.
func (p *Page) stillIn(v *visit) error {
	now := p.cfg.Now()
	s, err := p.cfg.Sessions.Session(v.ctx, hashToken(cookie(v.r, sessionCookie)), now)
	if err == nil && now.Sub(s.Seen) > p.cfg.IdleFor {
		err = ledger.ErrNotFound
	}
	return err
}

// stream is what one browser has been sent.
type stream struct {
	v     *visit
	begun bool
	known bool
	calls string // the ids shown
	seq   int64
	total int
	said  time.Time
}

func (s *stream) next(now holdings) (string, error) {
	l, a := s.v.lang, s.v.account
	e := event{Credits: l.credits(now.Left), Money: l.money(now.Left.Micros(now.Price), a.Currency), Calls: []callEvent{}, Known: now.Known}
	var ids strings.Builder
	for _, c := range now.Calls {
		fmt.Fprint(&ids, c.ID, c.Talking, " ")
		e.Calls = append(e.Calls, callEvent{c.ID, l.clock(c.Seconds), l.change(c.Cost)})
	}
	if !s.begun || ids.String() != s.calls || s.total != now.Total || s.known != now.Known {
		var b strings.Builder
		if err := s.v.page.views.all[l.tag]["overview"].ExecuteTemplate(&b, "live", &shown{Account: a, Data: &overviewData{Now: now}}); err != nil {
			return "", err
		}
		html := b.String()
		e.HTML = &html
	}
	// Every second is for the eye. The ear is told when calls begin or end, and now and then while they last.
	at := s.v.page.cfg.Now()
	if s.begun && now.Known && (s.total != now.Total || now.Total > 0 && at.Sub(s.said) > 30*time.Second) {
		e.Say, s.said = l.text("overview.say", "credits", e.Credits)+" "+l.plural("overview.live_calls", int64(now.Total)), at
	}
	if !now.Known {
		now.Seq = s.seq // the ledger's balance comes without
	}
	e.Moved = s.begun && now.Seq != s.seq
	s.begun, s.known, s.calls, s.seq, s.total = true, now.Known, ids.String(), now.Seq, now.Total
	b, err := json.Marshal(&e)
	return "data: " + string(b) + "\n\n", err
}
