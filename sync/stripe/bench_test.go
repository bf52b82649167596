package stripe_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

// Stripe waits for the answer to a webhook: the event is saved by then, and worked afterwards.
func BenchmarkWebhook(b *testing.B) {
	r := newRig(b)
	s := r.shop()
	n := 0
	for b.Loop() {
		n++
		body := event(fmt.Sprint("evt_", n), "invoice.paid", `{"id":"in_1"}`)
		if status := post(s, body, stripefake.Sign(body, secret, time.Now())); status != http.StatusOK {
			b.Fatalf("answered %d", status)
		}
	}
}
