package notify_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/ledger/sqlite/sqlitetest"
	"github.com/hmsovereign/ringfence/sync/notify"
)

// mailServer takes e-mail as RFC 5321 has it, with STARTTLS and AUTH PLAIN.
type mailServer struct {
	t        testing.TB
	l        net.Listener
	tls      *tls.Config
	implicit bool
	wg       sync.WaitGroup

	mu     sync.Mutex
	refuse string // answer to RCPT, if set
	taken  []envelope
}

type envelope struct {
	from, to, user, password string
	secure                   bool
	message                  *mail.Message
	text                     string
}

func serveMail(t *testing.T, implicit bool) (*mailServer, *x509.CertPool) {
	t.Helper()
	// A certificate for 127.0.0.1, and who vouches for it.
	ca := httptest.NewTLSServer(nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	s := &mailServer{t: t, implicit: implicit, tls: &tls.Config{Certificates: ca.TLS.Certificates}}
	ca.Close()
	var err error
	s.l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.wg.Go(func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.talk(c) })
		}
	})
	t.Cleanup(func() { _ = s.l.Close(); s.wg.Wait() })
	return s, pool
}

func (s *mailServer) talk(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	e := envelope{}
	if s.implicit {
		c = tls.Server(c, s.tls)
		e.secure = true
	}
	p := textproto.NewConn(c)
	say := func(format string, args ...any) { _ = p.PrintfLine(format, args...) }
	say("220 mail.example.test ESMTP")
	for {
		line, err := p.ReadLine()
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			if e.secure {
				say("250-mail.example.test\r\n250 AUTH PLAIN")
			} else {
				say("250-mail.example.test\r\n250 STARTTLS")
			}
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, s.tls)
			p, e.secure = textproto.NewConn(c), true
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(arg, "PLAIN "))
			if parts := strings.Split(string(raw), "\x00"); len(parts) == 3 {
				e.user, e.password = parts[1], parts[2]
			}
			say("235 welcome")
		case "MAIL":
			e.from = arg
			say("250 ok")
		case "RCPT":
			s.mu.Lock()
			refuse := s.refuse
			s.mu.Unlock()
			if refuse != "" {
				say("%s", refuse)
				continue
			}
			e.to = arg
			say("250 ok")
		case "DATA":
			say("354 go on")
			if e.message, err = mail.ReadMessage(bufio.NewReader(p.DotReader())); err != nil {
				s.t.Errorf("message: %v", err)
				return
			}
			text, err := io.ReadAll(quotedprintable.NewReader(e.message.Body))
			if err != nil {
				s.t.Errorf("text: %v", err)
			}
			e.text = string(text)
			s.mu.Lock()
			s.taken = append(s.taken, e)
			s.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

func (s *mailServer) wait(n int) []envelope {
	s.t.Helper()
	var got []envelope
	services.Eventually(s.t, patience, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if got = s.taken; len(got) != n {
			return fmt.Errorf("%d e-mails were taken, want %d", len(got), n)
		}
		return nil
	})
	return got
}

func mailing(s *mailServer, pool *x509.CertPool, how string) notify.Config {
	cfg := quick()
	cfg.BillingURL = "https://pay.example.com/billing"
	cfg.SMTP = notify.SMTP{Addr: s.l.Addr().String(), From: "Abrechnung für Anrufe <billing@example.com>", Username: "billing", Password: "p4ssw0rd",
		TLS: how, Timeout: 5 * time.Second, Roots: &tls.Config{RootCAs: pool}}
	return cfg
}

func TestMail(t *testing.T) {
	t.Parallel()
	for _, how := range []string{notify.TLSStart, notify.TLSImplicit} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s, pool := serveMail(t, how == notify.TLSImplicit)
			r := newRig(t, mailing(s, pool, how))
			r.set("", "") // e-mail alone
			must(t, r.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: 100 * credit.PerCredit, Email: true}))
			r.ingest(r.call(401 * 60))
			r.run()
			e := s.wait(1)[0]
			if e.from != "FROM:<billing@example.com>" || e.to != "TO:<billing@example.com>" || e.user != "billing" || e.password != "p4ssw0rd" || !e.secure {
				t.Errorf("envelope %+v", e)
			}
			h := e.message.Header
			subject, err := (&mime.WordDecoder{}).DecodeHeader(h.Get("Subject"))
			must(t, err)
			if subject != "Laag saldo: nog 99 minuten" { // the account's language
				t.Errorf("subject %q", subject)
			}
			from, err := h.AddressList("From")
			must(t, err)
			if from[0].Name != "Abrechnung für Anrufe" || !strings.Contains(h.Get("Message-Id"), r.deliveries()[0].ID.String()) || h.Get("Auto-Submitted") == "" {
				t.Errorf("headers %+v", h)
			}
			if _, err := h.Date(); err != nil {
				t.Error(err)
			}
			for _, says := range []string{"Your Company", "99 minuten", "onder 100 minuten", "https://pay.example.com/billing"} {
				if !strings.Contains(e.text, says) {
					t.Errorf("the text lacks %q:\n%s", says, e.text)
				}
			}
			r.settled()
		})
	}
}

// Each language has every text, and each text names what it must.
func TestMailTexts(t *testing.T) {
	t.Parallel()
	s, pool := serveMail(t, false)
	r := newRig(t, mailing(s, pool, notify.TLSStart))
	r.set("", "")
	ctx := t.Context()
	must(t, r.SetAlerts(ctx, ledger.Alerts{Account: acct, Below: 100 * credit.PerCredit, Email: true}))
	for _, language := range []string{"en", "nl", "de-AT", "xx"} {
		_, _, err := r.ledger.UpdateAccount(ctx, acct, func(a *authz.Account) error { a.Language = language; return nil })
		must(t, err)
		must(t, r.Live(ctx, []authz.Notice{{Kind: authz.NoticeExhausted, Account: acct, UID: uuid.New(), At: soon()}}))
		must(t, r.ledger.Update(ctx, func(tx *ledger.Tx) error {
			return tx.Notify(ctx, ledger.Notice{Account: acct, Event: ledger.NoticeTopUpFailed, Problem: "Declined.", PayURL: "https://pay.example.com/i"})
		}))
		r.grant(1, language)
	}
	all := r.deliveries()
	if len(all) != 12 {
		t.Fatalf("%d e-mails", len(all))
	}
	for _, d := range all {
		body := string(d.Body)
		if !strings.Contains(body, "Your Company") || !strings.Contains(body, `"subject":"`) || strings.Contains(body, "<no value>") ||
			d.Event == notify.EventTopUp && (!strings.Contains(body, "Declined.") || !strings.Contains(body, "https://pay.example.com/i")) {
			t.Errorf("%s: %s", d.Event, body)
		}
	}
	same(t, "German", strings.Contains(string(all[6].Body), "Guthaben"), true)
	same(t, "English for an unknown language", strings.Contains(string(all[9].Body), "Low balance"), true)
}

// A server that is away, or that refuses, gets it later; nothing secret is sent in the clear.
func TestMailFails(t *testing.T) {
	t.Parallel()
	s, pool := serveMail(t, false)
	s.refuse = "451 greylisted"
	r := newRig(t, mailing(s, pool, notify.TLSStart))
	r.set("", "")
	must(t, r.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: 1000 * credit.PerCredit, Email: true}))
	r.run()
	services.Eventually(t, patience, func() error {
		if d := r.deliveries()[0]; d.Attempts < 2 || d.Error != "the mail server answered 451 greylisted" {
			return fmt.Errorf("after %d attempts: %s", d.Attempts, d.Error)
		}
		return nil
	})
	s.mu.Lock()
	s.refuse = ""
	s.mu.Unlock()
	s.wait(1)
	r.settled()

	strange := mailing(s, x509.NewCertPool(), notify.TLSStart)
	r2 := newRig(t, strange)
	must(t, r2.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: 1000 * credit.PerCredit, Email: true}))
	r2.run()
	services.Eventually(t, patience, func() error {
		for _, d := range r2.deliveries() {
			if strings.HasPrefix(d.Endpoint, "mailto:") && d.Error == "the mail server did not take the e-mail" {
				return nil
			}
		}
		return fmt.Errorf("no failure yet")
	})
	s.wait(1)
}

// An account without an address gets no e-mail; its webhook is told all the same.
func TestMailToNobody(t *testing.T) {
	t.Parallel()
	s, pool := serveMail(t, false)
	r := newRig(t, mailing(s, pool, notify.TLSStart))
	_, _, err := r.ledger.UpdateAccount(t.Context(), acct, func(a *authz.Account) error { a.Email = "no address"; return nil })
	must(t, err)
	must(t, r.SetAlerts(t.Context(), ledger.Alerts{Account: acct, Below: 1000 * credit.PerCredit, Email: true}))
	all := r.deliveries()
	if len(all) != 1 || all[0].Endpoint != r.hook.URL {
		t.Errorf("queued %+v", all)
	}
}

func TestMailSettings(t *testing.T) {
	t.Parallel()
	l := sqlitetest.Open(t)
	for _, cfg := range []notify.SMTP{{Addr: "no port", From: "a@example.com"}, {Addr: "m:25", From: "nobody"}} {
		if _, err := notify.New(notify.Config{SMTP: cfg}, l, quiet, nil); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
