package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/portal/openapi"
)

// customer is the server of one, and what it was told.
type customer struct {
	*httptest.Server
	t      *testing.T
	schema *openapi3.Schema // of a message, as the OpenAPI document has it

	mu     sync.Mutex
	secret string
	told   []string // event, and a call's status; each delivery once
	seen   map[string]bool
}

func newCustomer(t *testing.T) *customer {
	t.Helper()
	text, err := openapi.YAML()
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	must(t, err)
	c := &customer{t: t, schema: doc.Components.Schemas["Message"].Value, seen: map[string]bool{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *customer) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var b struct {
		Message struct {
			Call struct{ Status string }
		}
	}
	if err := json.Unmarshal(body, &b); err != nil {
		c.t.Errorf("body %s: %v", body, err)
	}
	var whole struct{ Message any }
	if err := json.Unmarshal(body, &whole); err != nil || c.schema.VisitJSON(whole.Message) != nil {
		c.t.Errorf("body %s is not what the document says: %v", body, c.schema.VisitJSON(whole.Message))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	mac := hmac.New(sha256.New, []byte(c.secret))
	fmt.Fprintf(mac, "%s.%s", r.Header.Get("X-Webhook-Timestamp"), body)
	if want := "sha256=" + hex.EncodeToString(mac.Sum(nil)); r.Header.Get("X-Webhook-Signature") != want {
		c.t.Errorf("signature %q, want %q", r.Header.Get("X-Webhook-Signature"), want)
	}
	if id := r.Header.Get("X-Webhook-Id"); !c.seen[id] {
		c.seen[id] = true
		c.told = append(c.told, strings.TrimSpace(r.Header.Get("X-Webhook-Event")+" "+b.Message.Call.Status))
	}
}

// hears waits until the customer was told this, and no more: of calls in this order, of credit in any.
func (c *customer) hears(calls, credit []string) {
	c.t.Helper()
	services.Eventually(c.t, patience, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		var ofCalls, ofCredit []string
		for _, s := range c.told {
			if strings.Contains(s, " ") {
				ofCalls = append(ofCalls, s)
			} else {
				ofCredit = append(ofCredit, s)
			}
		}
		if !slices.Equal(ofCalls, calls) || !slices.Equal(ofCredit, credit) {
			return fmt.Errorf("told %q", c.told)
		}
		return nil
	})
}

// A customer hears of an answer and of low credit while the call goes on, and of its end, though the sidecar is killed
// in between.
func TestCustomerIsTold(t *testing.T) {
	t.Parallel()
	d := deploy(t, settings{"notify.allow": []string{"127.0.0.0/8"}})
	d.leaseOutbox(time.Now()) // the ledger is to hear of everything
	s := d.sidecar("only")
	s.listening()
	a := d.open("acme", 30*second, s)
	c := newCustomer(t)
	of := "?account=" + url.QueryEscape(a.id)
	set := s.admin(http.MethodPut, "webhooks"+of, map[string]string{"url": c.URL})
	c.mu.Lock()
	c.secret = set.text("secret")
	c.mu.Unlock()
	s.admin(http.MethodPut, "alerts"+of, map[string]any{"below_minutes": 0.45}) // 27 s
	if got := s.admin(http.MethodPost, "webhooks/test"+of, nil); got.body["delivered"] != true {
		t.Fatalf("the test message: %v", got)
	}
	call := d.out(a, "told")
	call.authorize(s)
	call.answer(s)
	c.hears([]string{"status-update in-progress"}, []string{"test", "balance-low"})

	s.restart()
	call.end(s)
	c.hears([]string{"status-update in-progress", "status-update ended", "end-of-call-report ended"}, []string{"test", "balance-low"})
	services.Eventually(t, patience, func() error { // noted once they have arrived
		list := s.admin(http.MethodGet, "deliveries"+of+"&state=delivered", nil)
		if list.number("total") != 4 {
			return fmt.Errorf("delivered are %v", list)
		}
		return nil
	})
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), d.binary, args...)
		cmd.Env = append(os.Environ(), "RINGFENCE_OPS_URL="+s.ops)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%q: %v: %s", args, err, out)
		}
		return string(out)
	}
	for _, say := range []struct {
		args []string
		want []string
	}{
		{[]string{"webhook", "show", a.id}, []string{c.URL, "all others", "0.45 minutes"}},
		{[]string{"webhook", "list", a.id}, []string{"end-of-call-report", "delivered", "balance-low"}},
		{[]string{"webhook", "list", "--dead"}, []string{"no messages"}},
		{[]string{"webhook", "replay", "--account", a.id}, []string{"0 queued again"}},
		{[]string{"webhook", "test", a.id}, []string{"delivered in"}},
		{[]string{"account", "alert", a.id, "--below-minutes", "0.5"}, []string{"0.5 minutes"}},
	} {
		if out := run(say.args...); !containsAll(out, say.want) {
			t.Errorf("%q says\n%s", say.args, out)
		}
	}
	s.grant(a, 60*second, "top-up")
	// A new threshold above the balance was told of, too.
	c.hears([]string{"status-update in-progress", "status-update ended", "end-of-call-report ended"}, []string{"test", "balance-low", "test", "balance-low", "credits-added"})
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
