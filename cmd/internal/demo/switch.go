package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sim is a small call switch: it asks before each call, reports what happens
// to it, and obeys at its control URL.
type sim struct {
	hook    string // http://host:port of the sidecar
	view    *view
	client  *http.Client
	control net.Listener
	server  *http.Server

	mu    sync.Mutex
	calls map[string]chan string // call id -> why it is hung up
	cost  map[string]int64       // account -> units that ended calls cost
	ended int
}

func newSim(hook string, v *view) (*sim, error) {
	s := &sim{hook: hook, view: v, client: &http.Client{Timeout: 2 * time.Second}, calls: map[string]chan string{}, cost: map[string]int64{}}
	var err error
	if s.control, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("simulated switch: %w", err)
	}
	s.server = &http.Server{Handler: http.HandlerFunc(s.obey), ReadHeaderTimeout: 2 * time.Second}
	go func() { _ = s.server.Serve(s.control) }()
	return s, nil
}

func (s *sim) url() string { return "http://" + s.control.Addr().String() + "/control" }

func (s *sim) close() { _ = s.server.Close() }

// obey takes the sidecar's orders.
func (s *sim) obey(w http.ResponseWriter, r *http.Request) {
	var cmd struct {
		Action    string `json:"action"`
		CallID    string `json:"call_id"`
		Reason    string `json:"reason"`
		Remaining int64  `json:"remaining_seconds"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&cmd); err != nil {
		http.Error(w, "bad command", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	hangup, ok := s.calls[cmd.CallID]
	s.mu.Unlock()
	if !ok {
		http.Error(w, "no such call", http.StatusNotFound)
		return
	}
	switch cmd.Action {
	case "warn":
		s.view.line(yellow, "warn", "%s: the caller hears \"low credit\", %d s remain", cmd.CallID, cmd.Remaining)
	case "hangup":
		select {
		case hangup <- cmd.Reason:
		default:
		}
	default:
		http.Error(w, "unknown action", http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, "{}")
}

// answer is what the sidecar said to a hook.
type answer struct {
	status int
	body   map[string]any
	raw    string
}

func (a answer) num(k string) int64 {
	f, _ := a.body[k].(float64)
	return int64(f)
}

// errorCode is the code of a refusal.
func (a answer) errorCode() string {
	e, _ := a.body["error"].(map[string]any)
	c, _ := e["code"].(string)
	return c
}

// post sends one hook; while the sidecar is away it tries again, as a switch
// does with what it must not lose.
func (s *sim) post(ctx context.Context, path string, body map[string]any) (answer, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	for {
		a, err := s.try(ctx, path, b)
		if err == nil {
			return a, nil
		}
		select {
		case <-ctx.Done():
			return answer{}, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *sim) try(ctx context.Context, path string, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.hook+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, raw: string(raw)}
	_ = json.Unmarshal(raw, &a.body)
	return a, nil
}

// call is one call to place.
type call struct {
	id, direction, account, from, to string
	ring, talk                       time.Duration
}

func (c *call) fields(extra map[string]any) map[string]any {
	m := map[string]any{"call_id": c.id, "direction": c.direction, "switch": "demo", "from": c.from, "to": c.to}
	if c.account != "" && c.direction == "outbound" {
		m["account"] = c.account
	}
	for k, v := range extra {
		m[k] = v
	}
	return m
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// place makes a call from its first question to its end.
func (s *sim) place(ctx context.Context, c call) error {
	hangup := make(chan string, 1)
	s.mu.Lock()
	s.calls[c.id] = hangup
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.calls, c.id)
		s.mu.Unlock()
	}()
	a, err := s.post(ctx, "/v1/authorize", c.fields(nil))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		s.refused(&c, a)
		return nil
	}
	s.view.line(green, "allow", "%s %s: up to %d s, %d s held", c.id, c.direction, a.num("max_seconds"), a.num("slice_seconds"))
	if !pause(ctx, c.ring) {
		return ctx.Err()
	}
	answered := time.Now()
	if _, err := s.post(ctx, "/v1/events", c.fields(map[string]any{"type": "answered", "at": stamp(answered)})); err != nil {
		return err
	}
	cause := "16"
	timer := time.NewTimer(c.talk)
	defer timer.Stop()
	select {
	case why := <-hangup:
		s.view.line(red, "cut off", "%s after %.1f s: %s", c.id, time.Since(answered).Seconds(), strings.ReplaceAll(why, "_", " "))
		cause = "21"
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.end(context.WithoutCancel(ctx), &c, answered, time.Now(), cause)
}

// end reports a hangup and notes what the call cost.
func (s *sim) end(ctx context.Context, c *call, answered, ended time.Time, cause string) error {
	a, err := s.report(ctx, c.fields(map[string]any{"type": "ended", "answered_at": stamp(answered), "ended_at": stamp(ended), "cause": cause}))
	if err != nil {
		return fmt.Errorf("end of %s: %w", c.id, err)
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("end of %s: %d %s", c.id, a.status, a.raw)
	}
	s.view.line(blue, "settled", "%s: %d s, %s", c.id, a.num("duration_sec"), credits(a.num("cost_units")))
	s.mu.Lock()
	s.cost[c.account] += a.num("cost_units")
	s.ended++
	s.mu.Unlock()
	return nil
}

// report sends an event until it is worked: the demo wants to show what became
// of it, so that being told that it is kept is not enough.
func (s *sim) report(ctx context.Context, event map[string]any) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		a, err := s.post(ctx, "/v1/events", event)
		if err != nil || a.status != http.StatusAccepted {
			return a, err
		}
		if !pause(ctx, 200*time.Millisecond) {
			return a, errors.New("it was kept and not worked in time")
		}
	}
}

func (s *sim) refused(c *call, a answer) {
	s.view.line(red, fmt.Sprint(a.status), "%s %s: %s", c.id, c.direction, strings.ReplaceAll(a.errorCode(), "_", " "))
	audio, ok := a.body["audio"].(map[string]any)
	if !ok {
		return
	}
	url, _ := audio["url"].(string)
	resp, err := s.client.Get(url)
	if err != nil {
		s.view.line(red, "prompt", "%s could not be fetched: %v", url, err)
		return
	}
	defer resp.Body.Close()
	n, _ := io.Copy(io.Discard, resp.Body)
	s.view.line(yellow, "prompt", "the caller hears %v (%v), %d bytes from %s", audio["prompt"], audio["language"], n, url)
}

// pause waits; it tells whether ctx is still on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
