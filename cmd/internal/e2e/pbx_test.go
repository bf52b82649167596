package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

// The switches of a deployment.
const (
	switchPlain = "plain" // takes orders, and that is all
	switchBeats = "beats" // its calls send heartbeats; nobody can reach it
)

// order is what a sidecar told a switch to do.
type order struct {
	at        time.Time
	action    string
	callID    string
	reason    string
	remaining int64
}

// pbx stands at the switches' control URL. It has every call it is told of until that is hung up.
type pbx struct {
	server *httptest.Server

	mu     sync.Mutex
	calls  map[string]bool
	orders []order
}

func newPBX(t *testing.T) *pbx {
	p := &pbx{calls: map[string]bool{}}
	p.server = httptest.NewServer(http.HandlerFunc(p.obey))
	t.Cleanup(p.server.Close)
	return p
}

// switches is the configuration of the switches.
func (p *pbx) switches() []map[string]any {
	return []map[string]any{
		{"name": switchPlain, "control_url": p.server.URL},
		{"name": switchBeats, "heartbeat": true},
	}
}

func (p *pbx) has(callID string, talking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[callID] = talking
}

func (p *pbx) obey(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	var c struct {
		Action    string `json:"action"`
		CallID    string `json:"call_id"`
		Reason    string `json:"reason"`
		Remaining int64  `json:"remaining_seconds"`
	}
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orders = append(p.orders, order{at, c.Action, c.CallID, c.Reason, c.Remaining})
	if !p.calls[c.CallID] {
		http.Error(w, "no such call", http.StatusNotFound)
		return
	}
	if c.Action == "hangup" {
		p.calls[c.CallID] = false
	}
	_, _ = w.Write([]byte("{}"))
}

// given lists the orders of one kind that a call got.
func (p *pbx) given(callID, action string) (all []order) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.orders {
		if o.callID == callID && o.action == action {
			all = append(all, o)
		}
	}
	return all
}

// await waits for an order.
func (p *pbx) await(t *testing.T, callID, action string) order {
	t.Helper()
	var first order
	services.Eventually(t, patience, func() error {
		all := p.given(callID, action)
		if len(all) == 0 {
			return fmt.Errorf("%s was not told to %s", callID, action)
		}
		first = all[0]
		return nil
	})
	return first
}
