package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/stripe"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
)

const hookSecret = "whsec_e2e"

// shop is a Stripe that a deployment sells credit through.
type shop struct {
	d        *deployment
	fake     *stripefake.Fake
	sidecars []*sidecar
	keys     map[string]string // by account
}

// sell gives a deployment a Stripe, whose webhooks reach any of the sidecars that open makes.
func (d *deployment) sell() *shop {
	d.t.Helper()
	x := &shop{d: d, keys: map[string]string{}}
	var err error
	x.fake, err = stripefake.New(stripefake.Config{})
	must(d.t, err)
	d.t.Cleanup(func() { must(d.t, x.fake.Close()) })
	url, err := x.fake.Start("")
	must(d.t, err)
	balancer := httptest.NewServer(http.HandlerFunc(x.webhook))
	d.t.Cleanup(balancer.Close)
	x.fake.AddEndpoint(balancer.URL, hookSecret, stripe.EventTypes()...)
	d.settings["stripe.key"], d.settings["stripe.webhook_secret"], d.settings["stripe.url"] = stripefake.Key, hookSecret, url
	d.settings["stripe.poll_every"], d.settings["stripe.usage.report"] = "1s", false
	return x
}

// webhook passes an event to a sidecar that lives.
func (x *shop) webhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	for _, i := range rand.Perm(len(x.sidecars)) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, x.sidecars[i].public()+stripe.WebhookPath, bytes.NewReader(body))
		if err != nil {
			break
		}
		req.Header = r.Header.Clone()
		resp, err := x.d.http.Do(req)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		return
	}
	w.WriteHeader(http.StatusBadGateway)
}

func (s *sidecar) public() string { return "http://" + s.set["public.listen"].(string) }

// api asks the account API as an account does.
func (x *shop) api(s *sidecar, a account, method, path, body string) answer {
	x.d.t.Helper()
	key := x.keys[a.id]
	if key == "" {
		out, code := s.cli("key", "create", a.id, "--quiet")
		if code != 0 {
			x.d.t.Fatalf("key create: %s", out)
		}
		key = strings.TrimSpace(out)
		x.keys[a.id] = key
	}
	req, err := http.NewRequest(method, s.public()+path, strings.NewReader(body))
	must(x.d.t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := x.d.http.Do(req)
	must(x.d.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(x.d.t, err)
	out := answer{status: resp.StatusCode, raw: string(raw)}
	_ = json.Unmarshal(raw, &out.body) // what is no object has no fields
	return out
}

// buy opens a purchase of 100 minutes and gives its session.
func (x *shop) buy(s *sidecar, a account) string {
	x.d.t.Helper()
	// A sidecar that was killed a moment ago may have to read the accounts first.
	services.Eventually(x.d.t, patience, func() error {
		made := x.api(s, a, http.MethodPost, "/api/v1/checkout", `{"amount_minutes":100}`)
		if made.status == http.StatusServiceUnavailable {
			return fmt.Errorf("checkout: %v", made)
		}
		if made.status != http.StatusCreated {
			x.d.t.Fatalf("checkout: %v", made)
		}
		return nil
	})
	sessions := x.fake.Objects("checkout.session")
	return sessions[len(sessions)-1]["id"].(string)
}

// Credit is bought, partly refunded and topped up by hand while sidecars are killed at any moment: what is paid is there
// once, and can be spent by a caller who had none.
func TestCreditBoughtUnderKills(t *testing.T) {
	t.Parallel()
	d := deploy(t, nil)
	d.share()
	x := d.sell()
	a, b := d.sidecar("one"), d.sidecar("two")
	x.sidecars = []*sidecar{a, b}
	a.ready()
	b.ready()
	acme := d.open("acme", 0, a, b)
	const hundred, gross = 100 * minute, int64(847)
	var want int64
	for i := range 5 {
		session := x.buy(a, acme)
		must(t, x.fake.Pay(session))
		want += hundred
		if i%2 == 1 {
			_, err := x.fake.Refund(session, 121)
			must(t, err)
			want -= hundred * 121 / gross
		}
		// From before the first webhook to after the last step.
		<-time.After(time.Duration(rand.IntN(150)) * time.Millisecond)
		[]*sidecar{a, b}[i%2].restart()
		a.listening()
		b.listening()
	}
	services.Eventually(t, 2*patience, func() error {
		if have := a.credit(acme); int64(have.Available) != want || int64(have.Granted) != want {
			return fmt.Errorf("%d can be spent, want %d (%+v)", have.Available, want, have)
		}
		return nil
	})
	must(t, x.fake.Redeliver(t.Context(), 2, 4))
	services.Eventually(t, 2*patience, func() error {
		out, code := a.cli("stripe", "status", "--json")
		if code != 0 || !strings.Contains(strings.ReplaceAll(out, " ", ""), `"waiting":0`) {
			return errors.New(out)
		}
		return nil
	})
	if have := a.credit(acme); int64(have.Granted) != want {
		t.Errorf("after redelivery %d are granted, want %d", have.Granted, want)
	}
	c := d.out(acme, "bought")
	c.authorize(b)
	if out, code := a.cli("stripe", "status"); code != 0 || !strings.Contains(out, "5 paid") {
		t.Errorf("status: %d %s", code, out)
	}
	if out, code := a.cli("stripe", "resync", "--hours", "1"); code != 0 || !strings.Contains(out, "0 events") {
		t.Errorf("resync: %d %s", code, out)
	}
	if out, code := a.cli("stripe", "replay", "evt_none"); code != 1 || !strings.Contains(out, "no event") {
		t.Errorf("replay: %d %s", code, out)
	}
	if page := x.api(b, acme, http.MethodGet, "/api/v1/invoices", ""); page.status != http.StatusOK || strings.Count(page.raw, `"paid"`) != 5 {
		t.Errorf("invoices: %v", page)
	}
}

// A sidecar without a key sells nothing, says so, and does the rest.
func TestNothingIsSold(t *testing.T) {
	t.Parallel()
	d := alone(t, nil)
	x := &shop{d: d, keys: map[string]string{}}
	s := d.sidecar("only")
	s.ready()
	acme := d.open("acme", 10*minute, s)
	for path, want := range map[string]int{"/api/v1/checkout": http.StatusServiceUnavailable, "/api/v1/top-up": http.StatusServiceUnavailable} {
		method := map[string]string{"/api/v1/checkout": http.MethodPost, "/api/v1/top-up": http.MethodGet}[path]
		if a := x.api(s, acme, method, path, `{"amount_minutes":500}`); a.status != want || a.code() != "service_unavailable" {
			t.Errorf("%s: %v", path, a)
		}
	}
	if a := x.api(s, acme, http.MethodGet, "/api/v1/invoices", ""); a.status != http.StatusOK {
		t.Errorf("invoices: %v", a)
	}
	if a, err := s.send(http.MethodPost, s.public()+stripe.WebhookPath, []byte("{}")); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("webhook: %v, %v", a, err)
	}
	if out, code := s.cli("stripe", "resync"); code != 1 || !strings.Contains(out, "stripe.key") {
		t.Errorf("resync: %d %s", code, out)
	}
}
