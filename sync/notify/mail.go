package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"text/template"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// How a connection to the mail server is protected.
const (
	TLSStart    = "starttls" // plain at first, then STARTTLS, or nothing is sent (RFC 3207)
	TLSImplicit = "tls"      // from the start (RFC 8314)
	TLSNone     = "none"
)

// SMTP is the operator's mail server.
type SMTP struct {
	Addr     string // host:port; empty: no e-mail
	From     string // such as "Billing <billing@example.com>"
	Username string // empty: no authentication
	Password string
	TLS      string        // TLSStart, TLSImplicit, TLSNone; empty: TLSStart
	Timeout  time.Duration // of one e-mail; 30 s
	Roots    *tls.Config   // for tests; nil: the system's
}

const mailScheme = "mailto:"

//go:embed texts/*.txt
var textFiles embed.FS

// letter is the body of a delivery by e-mail.
type letter struct {
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// mailData is what the texts may speak of.
type mailData struct {
	Company, Minutes, Threshold string
	Problem, PayURL             string
	BillingURL                  string
}

// mailer writes and sends e-mail.
type mailer struct {
	cfg     SMTP
	from    *mail.Address
	billing string // the billing page; may be empty
	texts   map[string]*template.Template
	now     func() time.Time
}

const fallbackLanguage = "en"

func newMailer(cfg SMTP, billing string, now func() time.Time) (*mailer, error) {
	if cfg.Addr == "" {
		return nil, nil
	}
	if cfg.TLS == "" {
		cfg.TLS = TLSStart
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return nil, fmt.Errorf("mail server %q: %w", cfg.Addr, err)
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("sender %q: %w", cfg.From, err)
	}
	m := &mailer{cfg: cfg, from: from, billing: billing, texts: map[string]*template.Template{}, now: now}
	files, err := textFiles.ReadDir("texts")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		t, err := template.ParseFS(textFiles, "texts/"+f.Name())
		if err != nil {
			return nil, err
		}
		m.texts[strings.TrimSuffix(f.Name(), ".txt")] = t
	}
	return m, nil
}

// write puts an event into a customer's language, English where there is none.
func (m *mailer) write(language, event string, data mailData) (letter, error) {
	base, _, _ := strings.Cut(language, "-")
	t := m.texts[strings.ToLower(base)]
	if t == nil {
		t = m.texts[fallbackLanguage]
	}
	data.BillingURL = m.billing
	var subject, text bytes.Buffer
	err := errors.Join(t.ExecuteTemplate(&subject, event+".subject", data), t.ExecuteTemplate(&text, event, data))
	return letter{Subject: strings.TrimSpace(subject.String()), Text: strings.TrimSpace(text.String()) + "\n"}, err
}

// mail queues an e-mail to the billing address; an account without one that can be read gets none.
func (b *batch) mail(p person, event string, data mailData, parts ...string) error {
	to, err := mail.ParseAddress(p.email)
	if err != nil {
		b.n.log.Warn("an account has no e-mail address to be told of its credit", "account", p.account.ID, "event", event)
		return nil
	}
	l, err := b.n.mailer.write(p.language, event, data)
	if err != nil {
		return fmt.Errorf("write e-mail: %w", err)
	}
	body, err := json.Marshal(l)
	if err != nil {
		return err
	}
	endpoint := mailScheme + to.Address
	b.out = append(b.out, ledger.Delivery{ID: deliveryID(append([]string{p.account.ID, endpoint, event}, parts...)...),
		Account: p.account.ID, Endpoint: endpoint, Topic: p.account.ID, Event: event, Body: body})
	return nil
}

// send hands an e-mail to the server. Errors: *failure.
func (m *mailer) send(ctx context.Context, d *ledger.Delivery) error {
	if m == nil {
		return &failure{text: "no mail server is configured"}
	}
	var l letter
	if err := json.Unmarshal(d.Body, &l); err != nil {
		return &failure{text: "the e-mail cannot be read", cause: err}
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	if err := m.deliver(ctx, strings.TrimPrefix(d.Endpoint, mailScheme), m.compose(d, l)); err != nil {
		var refused *textproto.Error
		if errors.As(err, &refused) {
			return &failure{text: fmt.Sprintf("the mail server answered %d %s", refused.Code, refused.Msg), cause: err}
		}
		return &failure{text: "the mail server did not take the e-mail", cause: err}
	}
	return nil
}

func (m *mailer) deliver(ctx context.Context, to string, text []byte) (err error) {
	host, _, err := net.SplitHostPort(m.cfg.Addr)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.cfg.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	// What ctx ends breaks the connection off.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.cfg.Roots != nil {
		secure = m.cfg.Roots.Clone()
	}
	secure.ServerName = host
	if m.cfg.TLS == TLSImplicit {
		conn = tls.Client(conn, secure)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if m.cfg.TLS == TLSStart {
		if err := c.StartTLS(secure); err != nil {
			return err
		}
	}
	if m.cfg.Username != "" {
		if err := c.Auth(smtp.PlainAuth("", m.cfg.Username, m.cfg.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(m.from.Address); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the server has taken it
	return nil
}

// compose writes the message (RFC 5322, MIME). The id is the delivery's, so that a repetition can be told.
func (m *mailer) compose(d *ledger.Delivery, l letter) []byte {
	var b bytes.Buffer
	head := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	_, domain, _ := strings.Cut(m.from.Address, "@")
	to := mail.Address{Address: strings.TrimPrefix(d.Endpoint, mailScheme)}
	head("From", m.from.String())
	head("To", to.String())
	head("Subject", mime.QEncoding.Encode("utf-8", l.Subject))
	head("Date", m.now().Format(time.RFC1123Z))
	head("Message-ID", "<"+messageID(d.ID)+"@"+domain+">")
	head("Auto-Submitted", "auto-generated") // RFC 3834
	head("MIME-Version", "1.0")
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(strings.ReplaceAll(l.Text, "\n", "\r\n"))) // into memory
	_ = q.Close()
	return b.Bytes()
}

func messageID(id uuid.UUID) string { return "ringfence." + id.String() }
