package notify_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/notify"
)

// A threshold that moves up and down mails once; a top-up makes way for the next. The webhook hears each time.
func TestThresholdMovesMailOnce(t *testing.T) {
	t.Parallel()
	s, pool := serveMail(t, false)
	r := newRig(t, mailing(s, pool, notify.TLSStart))
	low := func() (hooks, mails int) {
		for _, d := range r.deliveries() {
			switch {
			case d.Event != notify.EventLow:
			case strings.HasPrefix(d.Endpoint, "mailto:"):
				mails++
			default:
				hooks++
			}
		}
		return hooks, mails
	}
	move := func(below int64) {
		must(t, r.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: credit.Units(below) * credit.PerCredit, Email: true}))
	}
	for i := range int64(5) {
		move(1000 + i)
	}
	if hooks, mails := low(); hooks != 5 || mails != 1 {
		t.Errorf("%d webhook messages and %d e-mails", hooks, mails)
	}
	r.grant(2000, "more")
	move(3000)
	if hooks, mails := low(); hooks != 6 || mails != 2 {
		t.Errorf("after a top-up %d webhook messages and %d e-mails", hooks, mails)
	}
}

// A notice from before a top-up is no longer true: it is not told, and does not stand in for the next one.
func TestNoticeAfterTopUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, quick())
	ctx := t.Context()
	must(t, r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: 100 * credit.PerCredit}))
	before := time.Now().Add(-time.Second).UnixMilli()
	r.grant(10, "more")
	for _, kind := range []authz.NoticeKind{authz.NoticeLow, authz.NoticeExhausted} {
		must(t, r.Live(ctx, []authz.Notice{{Kind: kind, Account: acct, UID: uuid.New(), At: before, Left: 100}}))
	}
	same(t, "told", r.balances(), []string{"credits-added 510 10"})
	r.ingest(r.call(450 * 60))
	same(t, "told", r.balances(), []string{"credits-added 510 10", "balance-low 60 100"})
}

// Accounts that share an endpoint do not share its failures.
func TestSharedEndpoint(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Cool = time.Hour
	r := newRig(t, cfg)
	ctx := t.Context()
	_, _, err := r.ledger.CreateAccount(ctx, authz.Account{ID: "other", Company: "Another", Status: authz.Active, Currency: "EUR",
		Tariff: "default", Language: "en", TimeZone: "UTC"})
	must(t, err)
	must(t, r.SetWebhook(ctx, ledger.Webhook{Account: "other", URL: r.hook.URL, Secret: secret}))
	r.hook.answers(func(w http.ResponseWriter, g *got) bool {
		if g.Event == notify.EventCredits {
			return true
		}
		w.WriteHeader(http.StatusInternalServerError)
		return false
	})
	r.ingest(r.calls(10)...)
	r.run()
	services.Eventually(t, patience, func() error {
		var tries int64
		for _, d := range r.deliveries() {
			tries += d.Attempts
		}
		if tries < 5 {
			return fmt.Errorf("%d tries", tries)
		}
		return nil
	})
	_, _, err = r.ledger.AddGrant(ctx, authz.Grant{Account: "other", Units: credit.PerCredit, Kind: ledger.KindBonus, Reference: "one"})
	must(t, err)
	r.hook.wait("credits-added")
}

// A mail server that never answers takes no worker from the webhooks.
func TestMailServerHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	asked, release := make(chan struct{}, 100), make(chan struct{})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			wg.Go(func() { <-release; _ = c.Close() })
		}
	})
	cfg := quick()
	cfg.Workers = 1
	cfg.SMTP = notify.SMTP{Addr: l.Addr().String(), From: "billing@example.com", TLS: notify.TLSStart, Timeout: 2 * patience}
	r := newRig(t, cfg)
	r.set("", "")
	must(t, r.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: 1000 * credit.PerCredit, Email: true}))
	r.run()
	t.Cleanup(func() { _ = l.Close(); close(release); wg.Wait() }) // before the notifier stops
	<-asked
	r.set("", r.hook.URL)
	r.grant(1, "more")
	r.hook.wait("credits-added")
}
