package notify_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/notify"
)

// bodies are the queued messages as they will be sent, of one line each.
func (r *rig) bodies() []string {
	r.Helper()
	var out []string
	for _, d := range r.deliveries() {
		out = append(out, string(d.Body))
	}
	return out
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// Made by: printf '1765620000.{"message":{}}' | openssl dgst -sha256 -hmac whsec_test
func TestSignatureIsOpenSSLs(t *testing.T) {
	const want = "sha256=d628ebbc05a442919d5ebdaf4bc367ee8ccbc806b7f36b6b99f7173c4a7e1a2b"
	if got := notify.Sign("whsec_test", time.Unix(1765620000, 0), []byte(`{"message":{}}`)); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
	if got := documented("whsec_test", `1765620000.{"message":{}}`); got != want {
		t.Errorf("the tests' own algorithm gives %s, want %s", got, want)
	}
}

func TestEventsOfACall(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	c := r.call(84)
	r.ingest(c)
	r.ingest(c) // the outbox may bring it twice
	about := func(status string) string {
		return fmt.Sprintf(`"call":{"id":"%s","type":"inbound_phone_call","status":"%s"},"phone_number":{"number":"+31850835037","name":"Main line"},"customer":{"number":"+4930123456"}`, c.UID, status)
	}
	same(t, "bodies", r.bodies(), []string{
		`{"message":{"type":"status-update","timestamp":"2025-12-13T09:58:36.000Z",` + about("in-progress") + `}}`,
		`{"message":{"type":"status-update","timestamp":"2025-12-13T10:00:00.000Z",` + about("ended") + `}}`,
		`{"message":{"type":"end-of-call-report","timestamp":"2025-12-13T10:00:00.000Z",` + about("ended") +
			`,"duration_seconds":84,"started_at":"2025-12-13T09:58:36.000Z","ended_at":"2025-12-13T10:00:00.000Z","cost":0.098,"currency":"EUR","cost_minutes":1.4,"minutes_balance":498.6}}`,
	})
	for _, d := range r.deliveries() {
		if d.Topic != c.UID.String() || d.Endpoint != r.hook.URL || d.State != ledger.DeliveryPending {
			t.Errorf("queued %+v", d)
		}
	}
	r.run()
	r.hook.wait("status-update in-progress", "status-update ended", "end-of-call-report ended")
	r.settled()
}

func TestEventsOfCallsThatFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	poor := as(r.call(0), authz.StateRejected, string(authz.CodeInsufficientCredits))
	poor.Key.Direction = authz.Outbound
	poor.Detail.From, poor.Detail.To = poor.Detail.To, poor.Detail.From
	lost := r.call(60)
	lost.State = authz.StateLost
	r.ingest(poor)
	r.ingest(as(r.call(0), authz.StateReleased, "abandoned"))
	r.ingest(lost)
	found := lost
	found.State, found.TalkMS, found.Units = authz.StateSettled, 61_000, 61_000
	r.ingest(found)
	type shown struct {
		Event, Status, Code string
		Duration            float64
		Corrected           bool
	}
	var all []shown
	for _, b := range r.bodies() {
		var m struct {
			Message struct {
				Type      string
				Call      struct{ Status, Type string }
				Customer  struct{ Number string }
				Error     struct{ Code, Message string }
				Duration  float64 `json:"duration_seconds"`
				Corrected bool
			}
		}
		must(t, json.Unmarshal([]byte(b), &m))
		x := m.Message
		if x.Customer.Number != "+4930123456" || (x.Call.Status == "ended-with-error") != (x.Error.Message != "") {
			t.Errorf("body is %s", b)
		}
		if x.Error.Code == "insufficient_credits" && (x.Error.Message != authz.InsufficientOutbound || x.Call.Type != "outbound_phone_call") {
			t.Errorf("body is %s", b)
		}
		all = append(all, shown{x.Type, x.Call.Status, x.Error.Code, x.Duration, x.Corrected})
	}
	same(t, "messages", all, []shown{
		{"status-update", "ended-with-error", "insufficient_credits", 0, false},
		{"status-update", "ended-with-error", "not_answered", 0, false},
		{"end-of-call-report", "ended-with-error", "not_answered", 0, false},
		{"status-update", "in-progress", "", 0, false},
		{"status-update", "ended-with-error", "call_lost", 0, false},
		{"end-of-call-report", "ended-with-error", "call_lost", 60, false},
		{"status-update", "ended", "", 0, false},
		{"end-of-call-report", "ended", "", 61, true},
	})
}

// An answer is told of when it happens, and not again with the end; one that comes after the end is not told at all.
func TestAnswerIsToldOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	c, late := r.call(10), r.call(20)
	notice := func(rec *authz.Record) authz.Notice {
		return authz.Notice{Kind: authz.NoticeAnswered, Account: acct, Key: rec.Key, UID: rec.UID, At: rec.AnsweredAt, Detail: rec.Detail}
	}
	must(t, r.Live(t.Context(), []authz.Notice{notice(&c)}))
	must(t, r.Live(t.Context(), []authz.Notice{notice(&c)}))
	r.ingest(c, late)
	must(t, r.Live(t.Context(), []authz.Notice{notice(&c), notice(&late)}))
	r.run()
	r.settled()
	count := map[string]int{}
	for _, g := range r.hook.received() {
		count[g.String()]++
	}
	same(t, "messages", count, map[string]int{"status-update in-progress": 2, "status-update ended": 2, "end-of-call-report ended": 2})
}

// A number's own webhook gets what concerns the number, and the account's the rest.
func TestWebhookOfANumber(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	its := receive(t, secret)
	r.set(r.number.ID, its.URL)
	other := r.call(5)
	other.Detail.NumberID = ""
	r.ingest(r.call(5), other)
	r.grant(1, "more")
	r.run()
	its.wait("status-update in-progress", "status-update ended", "end-of-call-report ended")
	r.settled()
	names := r.hook.names()
	slices.Sort(names)
	same(t, "the account's", names, []string{"credits-added", "end-of-call-report ended", "status-update ended", "status-update in-progress"})
}

func TestNobodyWantsToHear(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	r.set("", "")
	r.ingest(r.call(84), r.call(500*60))
	r.grant(1, "more")
	must(t, r.Live(t.Context(), []authz.Notice{{Kind: authz.NoticeExhausted, Account: acct, UID: uuid.New(), At: soon()}}))
	same(t, "deliveries", len(r.deliveries()), 0)
	a, err := r.ledger.Alerts(t.Context(), acct)
	must(t, err)
	if !a.ExhaustedAt.IsZero() {
		t.Error("nobody was told that credit ran out, yet it is noted as told")
	}
}

// The balance after each call of a batch is the one after that call.
func TestBalanceAfterEachCall(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	r.ingest(r.call(60), r.call(120), r.call(180))
	var left []string
	for _, b := range r.bodies() {
		if _, after, ok := strings.Cut(b, `"minutes_balance":`); ok {
			left = append(left, strings.Trim(after, "}"))
		}
	}
	same(t, "balances", left, []string{"499", "497", "494"})
}

// balances are the messages about the account's balance so far.
func (r *rig) balances() []string {
	r.Helper()
	var out []string
	for _, d := range r.deliveries() {
		var m struct {
			Message struct {
				Balance   json.Number `json:"minutes_balance"`
				Threshold json.Number `json:"threshold_minutes"`
				Added     json.Number `json:"minutes_added"`
				Account   *struct {
					ID      string
					Company string `json:"company_name"`
				}
			}
		}
		must(r, json.Unmarshal(d.Body, &m))
		if x := m.Message; x.Account != nil {
			if x.Account.ID != acct || x.Account.Company != "Your Company" || d.Topic != acct {
				r.Errorf("delivery %+v", d)
			}
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s%s", d.Event, x.Balance, x.Threshold, x.Added)))
		}
	}
	return out
}

func TestLowBalance(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	ctx := t.Context()
	must(t, r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: 100 * credit.PerCredit}))
	told := func(want ...string) {
		t.Helper()
		same(t, "told", r.balances(), want)
	}
	r.ingest(r.call(400 * 60)) // 100 left: not below
	told()
	r.ingest(r.call(1))
	told("balance-low 99.98 100")
	r.ingest(r.call(60))
	must(t, r.Live(ctx, []authz.Notice{{Kind: authz.NoticeLow, Account: acct, UID: uuid.New(), At: soon(), Left: 90 * credit.PerCredit}}))
	told("balance-low 99.98 100") // once

	// A top-up that lifts it not far above the threshold does not arm it again; one that does, does.
	r.grant(5, "little")
	r.ingest(r.call(300))
	r.grant(12, "enough")
	told("balance-low 99.98 100", "credits-added 103.98 5", "credits-added 110.98 12")
	must(t, r.Live(ctx, []authz.Notice{{Kind: authz.NoticeLow, Account: acct, UID: uuid.New(), At: soon(), Left: 99 * credit.PerCredit}}))
	told("balance-low 99.98 100", "credits-added 103.98 5", "credits-added 110.98 12", "balance-low 99 100")
	// A notice of another threshold than the present one says nothing.
	must(t, r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: 50 * credit.PerCredit}))
	must(t, r.Live(ctx, []authz.Notice{{Kind: authz.NoticeLow, Account: acct, UID: uuid.New(), At: soon(), Left: 99 * credit.PerCredit}}))
	told("balance-low 99.98 100", "credits-added 103.98 5", "credits-added 110.98 12", "balance-low 99 100")
	// A threshold above the balance is told of at once.
	must(t, r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: 200 * credit.PerCredit}))
	told("balance-low 99.98 100", "credits-added 103.98 5", "credits-added 110.98 12", "balance-low 99 100", "balance-low 110.98 200")
}

func TestBalanceExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	r.ingest(r.call(500*60 - 1)) // one second left, which the next call can still use
	same(t, "told", r.balances(), []string(nil))
	r.ingest(r.call(1))
	r.ingest(as(r.call(0), authz.StateRejected, string(authz.CodeInsufficientCredits)))
	same(t, "told", r.balances(), []string{"balance-exhausted 0"})
	r.grant(10, "more")
	must(t, r.Live(t.Context(), []authz.Notice{{Kind: authz.NoticeExhausted, Account: acct, UID: uuid.New(), At: soon(), Left: 100}}))
	same(t, "told", r.balances(), []string{"balance-exhausted 0", "credits-added 10 10", "balance-exhausted 0"})
}

// What a customer was told before is armed again by a grant that nobody hears of.
func TestRearmedUnheard(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	r.ingest(r.call(500 * 60))
	r.set("", "")
	r.grant(10, "unheard")
	r.set("", r.hook.URL)
	r.ingest(r.call(10 * 60))
	same(t, "told", r.balances(), []string{"balance-exhausted 0", "balance-exhausted 0"})
}

func TestTopUpFailed(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	id := uuid.New()
	fail := func() {
		must(t, r.ledger.Update(t.Context(), func(tx *ledger.Tx) error {
			return tx.Notify(t.Context(), ledger.Notice{Account: acct, Event: ledger.NoticeTopUpFailed, ID: id, Problem: "Your card was declined.", PayURL: "https://pay.example.com/i"})
		}))
	}
	fail()
	fail() // the same purchase
	bodies := r.bodies()
	if len(bodies) != 1 || !strings.Contains(bodies[0], `"reason":"Your card was declined.","pay_url":"https://pay.example.com/i","minutes_balance":500}`) {
		t.Errorf("queued %s", bodies)
	}
}
