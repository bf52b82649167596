package stripefake

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// endpoint is an address that webhooks go to.
type endpoint struct {
	id       string
	url      string
	secret   string
	kinds    []string
	version  string // of the events it gets; "": the account's
	disabled bool
}

func (e *endpoint) wants(kind string) bool {
	return !e.disabled && slices.ContainsFunc(e.kinds, func(pattern string) bool { return kindMatches(pattern, kind) })
}

// delivery is a webhook that is to be sent.
type delivery struct {
	event   string
	kind    string
	to      *endpoint
	due     time.Time
	attempt int
}

// Delivery is an attempt to deliver a webhook.
type Delivery struct {
	Event    string // evt_...
	Type     string
	Endpoint string // we_...
	Attempt  int    // 1, 2, 3 ...; 0: sent by Redeliver
	Status   int    // answered; 0: not answered
	Err      error  // why there was no answer
	At       time.Time
}

// Delivering says how new webhooks are delivered. The zero value delivers each at once, in order, once.
type Delivering struct {
	Delay   time.Duration               // after the event
	Spread  time.Duration               // further delay, random, at most; so they overtake one another
	Copies  int                         // sent of each; 0 counts as 1
	Drop    func(eventType string) bool // never sent, as if Stripe had lost it; nil: none
	Retry   bool                        // until the answer is 2xx: after 1 s, 2 s, 4 s ... up to an hour, for 3 days
	Timeout time.Duration               // of an attempt; 0: that of Config.Webhooks
}

// SetDelivery changes how webhooks are delivered from now on. New fakes have Retry on.
func (f *Fake) SetDelivery(d Delivering) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delivery = d
}

// Hold keeps webhooks back until Release.
func (f *Fake) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
}

// Release delivers what was held back, in random order if shuffled.
func (f *Fake) Release(shuffled bool) {
	f.mu.Lock()
	f.held = false
	if shuffled {
		f.rand.Shuffle(len(f.queue), func(i, j int) { f.queue[i], f.queue[j] = f.queue[j], f.queue[i] })
		now := f.time()
		for _, d := range f.queue {
			d.due = now
		}
	}
	f.mu.Unlock()
	f.nudge()
}

// Discard forgets the webhooks that wait, as if Stripe had given up on them, and returns how many.
func (f *Fake) Discard() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.queue)
	f.queue = nil
	return n
}

// enqueue plans the delivery of an event.
func (f *Fake) enqueue(event object, to *endpoint) {
	d := f.delivery
	if d.Drop != nil && d.Drop(event.str("type")) {
		return
	}
	for range max(d.Copies, 1) {
		due := f.time().Add(d.Delay)
		if d.Spread > 0 {
			due = due.Add(time.Duration(f.rand.Int64N(int64(d.Spread))))
		}
		f.queue = append(f.queue, &delivery{event: event.id(), kind: event.str("type"), to: to, due: due, attempt: 1})
	}
	f.nudge()
}

// nextDelivery takes the webhook that is due first out of the queue; nil: none is due.
func (f *Fake) nextDelivery() *delivery {
	if f.held || len(f.queue) == 0 {
		return nil
	}
	first := 0
	for i, d := range f.queue {
		if d.due.Before(f.queue[first].due) {
			first = i
		}
	}
	if f.queue[first].due.After(f.time()) {
		return nil
	}
	next := f.queue[first]
	f.queue = slices.Delete(f.queue, first, first+1)
	return next
}

const (
	retryMost = time.Hour
	retryLife = 3 * 24 * time.Hour
)

// deliver sends a webhook and plans the next attempt if it failed.
func (f *Fake) deliver(d *delivery) {
	ok := f.send(d)
	f.mu.Lock()
	defer f.mu.Unlock()
	event := f.objects[d.event]
	if ok {
		event["pending_webhooks"] = max(event.num("pending_webhooks")-1, 0)
		return
	}
	if !f.delivery.Retry || f.now()-event.num("created") > int64(retryLife.Seconds()) {
		return
	}
	wait := time.Second << min(d.attempt-1, 12)
	d.attempt++
	d.due = f.time().Add(min(wait, retryMost))
	f.queue = append(f.queue, d)
}

// send sends a webhook and tells whether it was taken.
func (f *Fake) send(d *delivery) bool {
	f.mu.Lock()
	event := clone(f.objects[d.event])
	now, timeout := f.time(), f.delivery.Timeout
	to := *d.to
	f.mu.Unlock()

	sent := Delivery{Event: d.event, Type: d.kind, Endpoint: to.id, Attempt: d.attempt, At: now}
	if to.version != "" {
		event["api_version"] = to.version
	}
	payload := encode(event)
	ctx, cancel := f.ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	sent.Status, sent.Err = f.post(ctx, to, payload, now)
	if sent.Err != nil {
		f.log.Debug("stripefake: webhook", "event", d.event, "type", d.kind, "error", sent.Err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deliveries = append(f.deliveries, sent)
	return sent.Status >= 200 && sent.Status < 300
}

func (f *Fake) post(ctx context.Context, to endpoint, payload []byte, now time.Time) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(payload))
	if err != nil {
		return 0, fmt.Errorf("webhook to %s: %w", to.url, err)
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	request.Header.Set("Stripe-Signature", Sign(payload, to.secret, now))
	response, err := f.cfg.Webhooks.Do(request)
	if err != nil {
		return 0, fmt.Errorf("webhook to %s: %w", to.url, err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxBody))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return response.StatusCode, fmt.Errorf("webhook to %s: %w", to.url, err)
	}
	return response.StatusCode, nil
}

// Sign returns the header Stripe-Signature of a webhook (https://docs.stripe.com/webhooks#verify-manually).
func Sign(payload []byte, secret string, at time.Time) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(payload)
	return "t=" + stamp + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Event returns an event as it is sent, for a test that delivers it itself; nil if there is none.
func (f *Fake) Event(id string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	event, err := f.find("event", id, "id")
	if err != nil {
		return nil
	}
	return encode(event)
}

// Deliveries returns the attempts to deliver webhooks so far.
func (f *Fake) Deliveries() []Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.deliveries)
}

// Redeliver sends every event so far n more times to each endpoint that wants it, in random order, by several senders
// at a time, and waits for the answers. The error joins those of the attempts that were not taken.
func (f *Fake) Redeliver(ctx context.Context, n, senders int) error {
	f.mu.Lock()
	var all []*delivery
	for _, id := range f.kinds["event"] {
		for _, to := range f.endpoints {
			kind := f.objects[id].str("type")
			if !to.wants(kind) {
				continue
			}
			for range n {
				all = append(all, &delivery{event: id, kind: kind, to: to})
			}
		}
	}
	f.rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	f.mu.Unlock()

	work := make(chan *delivery)
	failed := make([]error, max(senders, 1))
	var group sync.WaitGroup
	for i := range failed {
		group.Go(func() {
			for d := range work {
				if !f.send(d) {
					failed[i] = errors.Join(failed[i], fmt.Errorf("stripefake: %s %s was not taken", d.kind, d.event))
				}
			}
		})
	}
	var stopped error
	for _, d := range all {
		select {
		case work <- d:
			continue
		case <-ctx.Done():
			stopped = fmt.Errorf("stripefake: redeliver: %w", context.Cause(ctx))
		case <-f.ctx.Done():
			stopped = errors.New("stripefake: closed")
		}
		break
	}
	close(work)
	group.Wait()
	return errors.Join(append(failed, stopped)...)
}
