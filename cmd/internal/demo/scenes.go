package demo

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// scene is one thing to show.
type scene struct {
	name string
	at   time.Duration
	run  func(context.Context) error
}

func (d *demo) scenes() []scene {
	s := d.sim
	place := func(c call) func(context.Context) error {
		return func(ctx context.Context) error { return s.place(ctx, c) }
	}
	const sec, short = time.Second, 300 * time.Millisecond
	return []scene{
		{"an outbound call", 0, place(call{"outbound-1", "outbound", acme, acmeDID, someone, short, 4 * sec})},
		{"an inbound call", 500 * time.Millisecond, place(call{"inbound-1", "inbound", acme, someone, acmeDID, short, 6 * sec})},
		{"outbound without credit", 1 * sec, place(call{"no-credit-out", "outbound", broke, brokeDID, someone, short, sec})},
		{"inbound without credit", 1500 * time.Millisecond, place(call{"no-credit-in", "inbound", broke, someone, brokeDID, short, sec})},
		{"an emergency call without credit", 2 * sec, place(call{"emergency", "outbound", broke, brokeDID, "112", short, 2 * sec})},
		{"credit ends in mid-call", 2500 * time.Millisecond, place(call{"nine-seconds", "outbound", tight, tightDID, someone, short, time.Minute})},
		{"every hook sent twice", 3 * sec, d.twice},
		{"a call over a restart", 4 * sec, place(call{"over-restart", "outbound", acme, acmeDID, someone, short, 8 * sec})},
		{"the restart", 6 * sec, d.restart},
	}
}

// twice sends every hook of a call twice: it has its effect once.
func (d *demo) twice(ctx context.Context) error {
	s := d.sim
	c := call{id: "twice", direction: "outbound", account: acme, from: acmeDID, to: someone}
	one, err := s.post(ctx, "/v1/authorize", c.fields(nil))
	if err != nil {
		return err
	}
	two, err := s.post(ctx, "/v1/authorize", c.fields(nil))
	if err != nil {
		return err
	}
	if one.status != http.StatusOK || two.status != http.StatusOK || one.body["call_uid"] != two.body["call_uid"] {
		return fmt.Errorf("authorized twice: %d %s, then %d %s", one.status, one.raw, two.status, two.raw)
	}
	d.view.line(green, "twice", "%s: asked twice, held once (call_uid %.8v...)", c.id, one.body["call_uid"])
	answered := time.Now()
	for range 2 {
		if _, err := s.post(ctx, "/v1/events", c.fields(map[string]any{"type": "answered", "at": stamp(answered)})); err != nil {
			return err
		}
	}
	if !pause(ctx, 2*time.Second) {
		return ctx.Err()
	}
	ended := time.Now()
	if err := s.end(ctx, &c, answered, ended, "16"); err != nil {
		return err
	}
	again, err := s.report(ctx, c.fields(map[string]any{"type": "ended", "answered_at": stamp(answered), "ended_at": stamp(ended), "cause": "16"}))
	if err != nil {
		return err
	}
	if again.status != http.StatusOK || again.body["duplicate"] != true {
		return fmt.Errorf("ended twice: %d %s", again.status, again.raw)
	}
	d.view.line(blue, "twice", "%s: ended twice, charged once", c.id)
	return nil
}

// restart stops the sidecar under its live calls and starts it again.
func (d *demo) restart(ctx context.Context) error {
	d.view.line(yellow, "restart", "the sidecar stops; the calls go on")
	if err := d.down(); err != nil {
		return err
	}
	if err := d.up(ctx); err != nil {
		return err
	}
	d.view.line(green, "restart", "the sidecar is back and has taken its live calls over")
	return nil
}
